"""Locks between processes: a file that one of them holds, let go by the system when its holders have died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def hold(path: Path, *, wait: bool) -> int | None:
    """The number of the open file that is now ours, until it is closed; None where another holds it.

    A child that inherits the number holds the lock, too: it is free when both have ended.
    """
    import fcntl  # not on Windows, where the rest of the service works

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def held(path: Path, *, wait: bool) -> Iterator[int | None]:
    """As `hold`, for a block."""
    handle = hold(path, wait=wait)
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)
