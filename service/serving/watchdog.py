"""Whether each worker makes progress: its event loop gives a sign of life every second, the supervisor counts them.

The signs are process ids in one pipe that all workers inherit: no clock that can be set, no file that can be deleted.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Collection
from contextlib import suppress

BEATS = "HANDFUL_BEATS"  # the pipe's descriptor, set by the supervisor for its workers
BEAT_SECONDS = 1.0
START_LOOKS = 600  # that a worker may take until its first sign: it imports, perhaps from a slow disk
_SIGN = struct.Struct("=Q")
_MOST_SIGNS = 4096  # read at once; a pipe holds at most 64 KiB


async def show_life() -> None:
    """Runs in a worker until it is cancelled."""
    if BEATS not in os.environ:
        return
    pipe, sign = int(os.environ[BEATS]), _SIGN.pack(os.getpid())
    while True:
        with suppress(OSError):  # the pipe is full while the supervisor sleeps, and broken once it is gone
            os.write(pipe, sign)
        await asyncio.sleep(BEAT_SECONDS)


class Watchdog:
    """The supervisor's side. It counts its own looks, not seconds: if the machine sleeps, nobody is late."""

    def __init__(self, looks: int) -> None:
        """A worker that gives no sign for so many looks is stuck."""
        self.looks = looks
        self._pipe, self.descriptor = os.pipe()
        for end in (self._pipe, self.descriptor):
            os.set_blocking(end, False)
        os.set_inheritable(self.descriptor, True)  # noqa: FBT003
        self._silent: dict[int, int] = {}  # looks without a sign, by process
        self._seen: set[int] = set()

    def stuck(self, processes: Collection[int]) -> list[int]:
        """Looks once; returns those that have been silent for too long."""
        signs = self._signs()
        self._seen = (self._seen | signs) & {*processes}
        self._silent = {each: 0 if each in signs else self._silent.get(each, 0) + 1 for each in processes}
        late = [each for each in processes if self._silent[each] > (self.looks if each in self._seen else START_LOOKS)]
        self._silent |= dict.fromkeys(late, 0)  # it is killed now, which takes a moment
        return late

    def _signs(self) -> set[int]:
        try:
            signs = os.read(self._pipe, _MOST_SIGNS * _SIGN.size)
        except BlockingIOError:
            return set()
        return {process for (process,) in _SIGN.iter_unpack(signs)}
