"""A folder -> the files below it that a person put there, always in the same order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from handful.service.artifact.images import may_be_image

# Names that operating systems and tools leave behind; names that start with a dot are hidden anyway.
LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})
HIDDEN, LEADS_BACK, NO_ENDING = (
    "hidden",
    "linked folder that leads back",
    "without an ending",
)  # kinds of left-out files


def entries(folder: Path, left_out: Counter[str] | None = None) -> list[os.DirEntry[str]]:
    """The visible entries of a folder, sorted by name; the others are counted in `left_out`. Raises OSError."""
    with os.scandir(folder) as scanned:
        every = list(scanned)
    shown = [e for e in every if not e.name.startswith(".") and e.name.lower() not in LEFT_BEHIND]
    if left_out is not None and len(shown) < len(every):
        left_out[HIDDEN] += len(every) - len(shown)
    return sorted(shown, key=lambda entry: entry.name)


def walk(folder: Path, left_out: Counter[str] | None = None) -> Iterator[Path]:
    """Every visible file below, depth first; what is left out is counted by kind.

    Linked folders are followed, each folder once; a link to the folder itself, above it or to what lies below it anyway
    is not. A folder that cannot be listed is yielded itself, so that whoever reads it gets the error.
    """
    counted = Counter[str]() if left_out is None else left_out
    guard, todo = _Guard(folder), [folder]
    while todo:
        path = todo.pop()
        if path != folder and not path.is_dir():
            yield path
        elif not guard.may_enter(path):
            counted[LEADS_BACK] += 1
        else:
            try:
                todo += [Path(entry.path) for entry in reversed(entries(path, counted))]
            except OSError:
                yield path


class _Guard:
    """Against loops of links, and against finding a photo twice."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._root, self._seen = folder, folder.resolve(), set[tuple[int, int]]()

    def may_enter(self, path: Path) -> bool:
        """Whether a folder is met for the first time, and will not be met by its own name."""
        if path != self._folder and path.is_symlink():
            target = path.resolve()
            if self._root.is_relative_to(target) or target.is_relative_to(self._root):
                return False
        try:
            status = path.stat()
        except OSError:
            return True  # listing it gives the error
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen and status.st_ino:
            return False
        self._seen.add(identity)
        return True


def images(
    folder: Path, left_out: Counter[str] | None = None, ignored: Collection[Path] = frozenset()
) -> Iterator[Path]:
    """The files below that have an image's ending or first bytes, and folders that cannot be listed.

    Other files are counted in `left_out` by their ending; those at the absolute paths of `ignored` are not.
    """
    for path in walk(folder, left_out):
        if ignored and path.absolute() in ignored:
            continue
        if path.is_dir() or may_be_image(path):
            yield path
        elif left_out is not None:
            left_out[path.suffix.lower() or NO_ENDING] += 1


def relative_name(path: Path, folder: Path) -> str:
    r"""The path relative to the folder, with `/`; bytes that are not UTF-8 are written as \xNN."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")
