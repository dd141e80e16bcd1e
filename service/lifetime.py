"""How a worker ends: with its supervisor, and never later than it may after SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType

logger = logging.getLogger(__name__)
SUPERVISOR = "HANDFUL_SUPERVISOR_PID"  # set by the supervisor for its workers
LOOK_SECONDS = 0.5


def announce_supervisor() -> None:
    """Called in the supervisor; workers started from now on know whom to follow."""
    os.environ[SUPERVISOR] = str(os.getpid())


def end_with_supervisor() -> None:
    """A supervisor that was killed cannot stop its workers, and an orphan would hold the port for ever."""
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is None or os.name == "nt":
        return

    def watch() -> None:
        while os.getppid() == int(supervisor):
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor", daemon=True).start()


def cap_drain(seconds: float) -> None:
    """After SIGTERM requests in flight are finished; this ends the process if they take too long."""
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        timer = threading.Timer(seconds, os._exit, [1])
        timer.daemon = True
        timer.start()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, stop)
