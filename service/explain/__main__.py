"""The process that explains for a worker, so that torch is never imported there; it ends with its worker.

python -m handful.service.explain SOCKET
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from handful.service.explain.messages import READY
from handful.service.serving.shutdown import end_with_supervisor

NICENESS = 5  # answers come first, but somebody waits for this one, too: jobs and large images have 10


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker ends it when its last requests are answered
    end_with_supervisor(signal.SIGKILL)
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory is short, before its worker
    from handful.service.explain.explainer import explain_tasks  # seconds, as it imports torch and matplotlib

    connection = Connection(int(sys.argv[1]))
    with suppress(EOFError, ConnectionError):
        connection.send_bytes(READY)
        explain_tasks(connection)
    os._exit(0)  # to take apart all that was imported would take seconds


if __name__ == "__main__":
    main()
