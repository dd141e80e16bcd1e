"""Files and folders that appear whole or not at all, and the lock between processes that change them.

What is new is written under a hidden name, synced to the disk and then renamed.
"""

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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

PARTIAL = ".partial-"
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600  # of what tells of single photos
PARTIAL_KEPT_SECONDS = 24 * 3600  # a folder that a killed command on another machine left behind


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder` for its owner alone; removed afterwards unless it was renamed.

    `sweep` removes a killed process's.
    """
    partial = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=folder))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def scratch_folder(folder: Path) -> Path:
    """As `partial_folder`, but it stays until its caller or a later `sweep` removes it."""
    return Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=folder))


def rename_unless_taken(partial: Path, target: Path) -> bool:
    """Renames the folder, which everybody may then list; False if another process has just taken the name."""
    partial.chmod(0o755)
    try:
        partial.rename(target)
    except OSError:
        if target.exists():
            return False
        raise
    sync_folder(target.parent)
    return True


def sweep(folder: Path) -> None:
    """Removes unfinished files and folders of killed processes: this machine's at once, another's after a day."""
    for left in folder.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            if not (_is_dead(left.name) or time.time() - left.stat().st_mtime > PARTIAL_KEPT_SECONDS):
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()


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


def private_folder(folder: Path) -> Path:
    """The folder; if it is new, only its owner may list it. One that exists keeps its rights."""
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    return folder


def private_file(path: Path) -> Path:
    """The file, which only its owner may read from now on; an empty one if there was none."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
    with suppress(PermissionError):  # somebody else's
        path.chmod(PRIVATE_FILE)
    return path


def protect(path: Path) -> None:
    """Only the owner may read the file, or the folder and all below it, from now on."""
    for each in [path, *path.rglob("*")]:
        if each.exists():
            each.chmod(PRIVATE_FOLDER if each.is_dir() else PRIVATE_FILE)


def replace_text(path: Path, text: str) -> None:
    """A reader sees the old text or the new one. On a full disk the old one stays, with nothing beside it."""
    with replacement(path) as part:
        part.write_text(text, encoding="utf-8")
        part.chmod(0o644)


@contextmanager
def replacement(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A hidden file to write, which becomes `path` when the block ends and is removed if the block raises.

    Only its owner may read it. It lies in `folder`, on the same disk, or else beside `path`; `sweep` removes what a
    killed process left.
    """
    handle, name = tempfile.mkstemp(prefix=_own_prefix(), dir=folder or path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        move_into_place(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def move_into_place(part: Path, path: Path) -> None:
    """Renames the finished file once its bytes are on the disk."""
    sync_file(part)
    part.replace(path)
    sync_folder(path.parent)


def move_unless_taken(part: Path, path: Path) -> bool:
    """Renames, never over a file: False if something has the name, even since a moment ago. Nothing is synced."""
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        if os.path.lexists(path):
            return False
        part.replace(path)
    else:
        part.unlink()
    return True


def append_line(path: Path, line: str) -> None:
    """Appends in one write. The newline comes first, so that a line which a crash cut short spoils only itself."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"\n{line}".encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Syncs all files below the folder, and the folder; call it before the folder gets its final name."""
    for path in folder.rglob("*"):
        if path.is_file():
            sync_file(path)
    sync_folder(folder)


def sync_file(path: Path) -> None:
    with path.open("rb+" if os.name == "nt" else "rb") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open a folder
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process or thread at a time holds the lock file; the operating system frees it when its holder dies."""
    with _lock(path):
        yield


def try_lock(path: Path) -> FileLock | None:
    """The lock, held until its `release`, from whatever thread; None if another holder has it."""
    from filelock import Timeout

    lock = _lock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def _lock(path: Path) -> FileLock:
    """Never the kind that `filelock` falls back to where a disk has no locks: a kill would leave that one held."""
    from filelock import FileLock  # what only reads does without

    return FileLock(path, thread_local=False, fallback_to_soft=False)
