"""How a worker ends: together with its supervisor, and within a time limit after SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType

logger = logging.getLogger(__name__)
SUPERVISOR = "HANDFUL_SUPERVISOR_PID"  # set by the supervisor for its workers
POLL_SECONDS = 0.5
ending = threading.Event()  # set once this process has been asked to end: nothing long may start then


def log_again() -> None:
    """BentoML's setting up of logs disables every logger that exists; ours exist already."""
    for name, each in logging.root.manager.loggerDict.items():
        if name.startswith("handful.") and isinstance(each, logging.Logger):
            each.disabled = False


def announce_supervisor() -> None:
    """Called in the supervisor, before it starts workers: they inherit its process id."""
    os.environ[SUPERVISOR] = str(os.getpid())


def end_with_supervisor(by: signal.Signals = signal.SIGTERM) -> None:
    """Ends this process once its supervisor is gone: a killed one cannot stop its workers, and they keep the port."""
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is None or os.name == "nt":
        return

    def watch() -> None:
        while os.getppid() == int(supervisor):
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), by)

    threading.Thread(target=watch, name="supervisor", daemon=True).start()


def cap_drain(seconds: float) -> None:
    """After SIGTERM or Ctrl-C, requests in flight are finished; if they take longer than this, the process exits."""
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
