"""A command of handful's own as a service's job: at low priority, and ending when the worker that started it does.

python -m service.runner retrain FOLDER --name NAME --json
"""

from __future__ import annotations

import os
import signal
import threading

from service.lifetime import end_with_supervisor

NICENESS = 10  # answers come first; on Linux the disk follows it, too
GRACE_SECONDS = 5.0


def main() -> None:
    os.nice(NICENESS)
    signal.signal(signal.SIGTERM, _stop)
    end_with_supervisor()
    from service.cli import main as handful

    handful()


def _stop(*_: object) -> None:
    """As Ctrl-C, so that what is half done is removed; then, whatever hangs, the whole group."""
    timer = threading.Timer(GRACE_SECONDS, os.killpg, [0, signal.SIGKILL])
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
