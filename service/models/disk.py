"""Threads for what reads or moves folders for a call, so that a slow disk stops nothing else."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from handful.service.http.capacity import Capacity
from handful.service.http.errors import NO_SPACE_ERRNOS, DiskFull, Overloaded
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import HomeNotWritable

logger = logging.getLogger(__name__)
THREADS = 4
MAX_CALLS = 64  # that wait for the disk at once
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR})
P = ParamSpec("P")
R = TypeVar("R")


class Disk:
    """One per worker."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "models")
        self._calls = Capacity(MAX_CALLS, "calls about models")
        self._logged = ""

    async def call(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Raises `DiskFull`, `HomeNotWritable` or `Overloaded`, or `ModelUnknown` for what went elsewhere meanwhile."""
        with self._calls.reserve(1):
            try:
                return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
            except FileNotFoundError as e:
                raise ModelUnknown(
                    "The model was renamed or deleted meanwhile; GET /models lists those there are."
                ) from e
            except OSError as e:
                if e.errno in NO_SPACE_ERRNOS:
                    raise DiskFull("There is no room on the disk.") from e
                if e.errno in READ_ONLY:
                    raise HomeNotWritable("Nothing can be written to HANDFUL_HOME here.") from e
                if e.errno == errno.EBUSY:
                    raise Overloaded("Another process has locked the table of jobs; try again in a second.") from e
                raise

    async def tidy(self, work: Callable[[], None]) -> None:
        """For no call: a failing disk neither ends the service nor fills its log."""
        try:
            await asyncio.wrap_future(self._threads.submit(work))
        except Exception as e:
            if str(e) != self._logged:
                logger.warning("HANDFUL_HOME cannot be tidied: %s", e, exc_info=not isinstance(e, OSError))
            self._logged = str(e)
