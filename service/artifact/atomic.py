"""Files and folders that appear whole or not at all: written under a hidden name, synced, then renamed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial-"
PARTIAL_KEPT_SECONDS = 24 * 3600  # a folder that a killed command on another machine left behind


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder`, gone afterwards unless it was renamed; a killed owner leaves it to `sweep`."""
    partial = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=folder))
    partial.chmod(0o755)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def renamed(partial: Path, target: Path) -> bool:
    """False where another process has just taken the name."""
    try:
        partial.rename(target)
    except OSError:
        if target.exists():
            return False
        raise
    sync_folder(target.parent)
    return True


def sweep(folder: Path) -> None:
    """Removes what killed commands left: those of this machine at once, others' after a day."""
    for left in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if _is_dead(left.name) or time.time() - left.stat().st_mtime > PARTIAL_KEPT_SECONDS:
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()  # a text that was to replace another


def _mine() -> str:
    return f"{PARTIAL}{re.sub(r'[^0-9A-Za-z.]', '', platform.node())}-"


def _own_prefix() -> str:
    return f"{_mine()}{os.getpid()}-"


def _is_dead(name: str) -> bool:
    """Whether the name is that of a process of this machine that has ended."""
    process = name.removeprefix(_mine()).partition("-")[0]
    if os.name == "nt" or not name.startswith(_mine()) or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # somebody else's, and alive
    return False


def replace_text(path: Path, text: str) -> None:
    """A reader sees the old text or the new one; on a full disk the old one stays, and nothing beside it."""
    handle, name = tempfile.mkstemp(prefix=_own_prefix(), dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """One write. The newline leads, so that a line which a crash tore spoils none but itself."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"\n{line}".encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def sync(folder: Path) -> None:
    """Bytes reach the disk before the name does."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time; the system lets go when its holder dies. Windows has no such lock on a folder."""
    if os.name == "nt":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
