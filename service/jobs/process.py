"""The process of a job: the lock that it shares with its worker, its output read with a bound, its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 16
LOG_BYTES = 1_000_000
TAIL_BYTES = 64_000
GRACE_SECONDS = 10.0  # from asking the process to end to killing it


@contextmanager
def inheritable_lock(path: Path) -> Iterator[int | None]:
    """The descriptor of the lock file, held until the block ends; None if another process holds the lock.

    A child process that inherits the descriptor holds the lock too: it is free once both have ended. The locks of
    `filelock`, used everywhere else, are released by the process that took them and cannot be handed on.
    """
    import fcntl  # Windows lacks it; only jobs need it, and Windows has none

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield None
        return
    except BaseException:
        os.close(descriptor)
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def read_all(stream: asyncio.StreamReader, most_bytes: int) -> bytes:
    """Reads the stream to its end. Returns nothing if that was more than allowed."""
    kept = bytearray()
    seen = 0
    while chunk := await stream.read(CHUNK_BYTES):
        seen += len(chunk)
        if seen <= most_bytes:
            kept += chunk
    return bytes(kept) if seen <= most_bytes else b""


class LogFile:
    """Copies a stream into a file: its beginning as it arrives, its last part at the end, no middle."""

    def __init__(self, path: Path) -> None:
        self.path, self._tail, self._left_out = path, bytearray(), 0

    async def fill(self, stream: asyncio.StreamReader) -> None:
        written = 0
        with self.path.open("wb", buffering=0) as file:
            while chunk := await stream.read(CHUNK_BYTES):
                now = chunk[: max(0, LOG_BYTES - written)]
                written += len(now)
                file.write(now)
                self._keep(chunk, len(chunk) - len(now))
            if self._left_out:
                late = bytes(self._tail[-min(self._left_out, TAIL_BYTES) :])
                file.write(b"\n[%d bytes left out]\n" % (self._left_out - len(late)) + late)

    def _keep(self, chunk: bytes, unwritten: int) -> None:
        self._left_out += unwritten
        self._tail += chunk
        del self._tail[:-TAIL_BYTES]

    def tail(self) -> str:
        """The last part of what was written."""
        return self._tail.decode("utf-8", "replace")


async def stop(process: asyncio.subprocess.Process, output: asyncio.Future[Any]) -> None:
    """Asks the process to end if it has not, then kills its whole group; returns when all its output is read."""
    if not output.done():
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait({output}, timeout=GRACE_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.wait({output})
