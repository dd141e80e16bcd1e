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
ending = threading.Event()  # set once this process has been asked to end: begin nothing long


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
    """After SIGTERM or Ctrl-C requests in flight are finished; this ends the process if they take too long."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        ending.set()
        timer = threading.Timer(seconds, os._exit, [1])
        timer.daemon = True
        timer.start()
        former = before[signal.Signals(number)]
        if callable(former):
            former(number, frame)

    for number in before:
        signal.signal(number, stop)
