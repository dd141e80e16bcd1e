"""Imported by each new interpreter of a service in tests: a job waits at its import of torch while a file is there.

So tests look at jobs that run, ask for their end and kill their workers, however slow the machine is.
"""

from __future__ import annotations

import os
import sys
import time

HELD = os.environ.get("JOBS_HELD_WHILE", "")
IS_JOB = "HANDFUL_PROGRESS" in os.environ


def _wait(event: str, arguments: tuple[object, ...]) -> None:
    if event == "import" and arguments[0] == "torch":
        while os.path.exists(HELD):  # noqa: PTH110 - pathlib is slow to import, and not every interpreter needs it
            time.sleep(0.05)


if IS_JOB and os.path.exists(HELD):  # noqa: PTH110
    sys.addaudithook(_wait)
