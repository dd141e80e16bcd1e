"""The process that decoders are forked from: it has imported what they need, and it has no threads to break.

python -m handful.service.decoding SOCKET

Per byte that arrives with a descriptor, a decoder is forked that reads its tasks from it; the answer is its process id.
The socket's end, which is the worker's, ends this process; each decoder ends with its own.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

from handful.service.decoding.decoder import answer_tasks, prepare
from handful.service.decoding.processes import PID_BYTES


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker ends its decoders when its last requests are answered
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets ended decoders
    prepare()
    gc.freeze()
    worker = socket.socket(fileno=int(sys.argv[1]))
    while True:
        niceness, descriptors, _, _ = socket.recv_fds(worker, 1, 1)
        if not niceness:
            return
        pid = os.fork()
        if pid == 0:
            worker.close()
            answer_tasks(descriptors[0], niceness[0])
            os._exit(0)
        os.close(descriptors[0])
        worker.sendall(pid.to_bytes(PID_BYTES))


if __name__ == "__main__":
    main()
