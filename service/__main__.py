"""A command of handful, run as a job of the service: at low priority, and no longer than the worker that started it.

python -m handful.service retrain FOLDER --name NAME --json
"""

from __future__ import annotations

import os
import signal
import threading

from handful.service.serving.shutdown import end_with_supervisor

NICENESS = 10  # answers come first; on Linux this also lowers the priority of disk access
GRACE_SECONDS = 5.0


def main() -> None:
    os.nice(NICENESS)
    signal.signal(signal.SIGTERM, _stop)
    end_with_supervisor()
    from handful.__main__ import main as handful

    handful()


def _stop(*_: object) -> None:
    """Acts as Ctrl-C, so that unfinished files are removed; kills the whole process group if that takes too long."""
    timer = threading.Timer(GRACE_SECONDS, os.killpg, [0, signal.SIGKILL])
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
