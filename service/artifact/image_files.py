"""A folder -> the files below it that a person put there, always in the same order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from handful.service.artifact.images import may_be_image

# Names that operating systems and tools leave behind; names that start with a dot are hidden anyway.
LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The visible entries of a folder, sorted by name. Raises OSError."""
    with os.scandir(folder) as scanned:
        shown = [e for e in scanned if not e.name.startswith(".") and e.name.lower() not in LEFT_BEHIND]
    return sorted(shown, key=lambda entry: entry.name)


def walk(folder: Path) -> Iterator[Path]:
    """Every visible file below, depth first.

    Links to folders are not followed, so there are no loops. A folder that cannot be listed is yielded itself, so that
    whoever reads it gets the error.
    """
    todo = [folder]
    while todo:
        path = todo.pop()
        if path != folder and not _is_folder(path):
            yield path
            continue
        try:
            todo += [Path(e.path) for e in reversed(entries(path)) if not (e.is_symlink() and e.is_dir())]
        except OSError:
            yield path


def images(folder: Path) -> Iterator[Path]:
    """The files below that have an image's ending or first bytes, and folders that cannot be listed."""
    return (path for path in walk(folder) if path.is_dir() or may_be_image(path))


def relative_name(path: Path, folder: Path) -> str:
    r"""The path relative to the folder, with `/`; bytes that are not UTF-8 are written as \xNN."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
