"""What a process writes, read with a bound however much it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

CHUNK_BYTES = 1 << 16
LOG_BYTES = 1_000_000
TAIL_BYTES = 64_000


async def drain(stream: asyncio.StreamReader, most_bytes: int) -> bytes:
    """All of it up to its end; nothing where it is more than that."""
    kept = bytearray()
    seen = 0
    while chunk := await stream.read(CHUNK_BYTES):
        seen += len(chunk)
        if seen <= most_bytes:
            kept += chunk
    return bytes(kept) if seen <= most_bytes else b""


class Tail:
    """The beginning goes to a file as it comes, the end when it has ended; what lies between is left out."""

    def __init__(self, path: Path) -> None:
        self.path, self._end, self._left_out = path, bytearray(), 0

    async def fill(self, stream: asyncio.StreamReader) -> None:
        written = 0
        with self.path.open("wb", buffering=0) as file:
            while chunk := await stream.read(CHUNK_BYTES):
                now = chunk[: max(0, LOG_BYTES - written)]
                written += len(now)
                file.write(now)
                self._keep(chunk, len(chunk) - len(now))
            if self._left_out:
                late = bytes(self._end[-min(self._left_out, TAIL_BYTES) :])
                file.write(b"\n[%d bytes left out]\n" % (self._left_out - len(late)) + late)

    def _keep(self, chunk: bytes, unwritten: int) -> None:
        self._left_out += unwritten
        self._end += chunk
        del self._end[:-TAIL_BYTES]

    def text(self) -> str:
        """The end of what was written."""
        return self._end.decode("utf-8", "replace")
