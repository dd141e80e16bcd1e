"""The photos below the folders of labels, as files that are there now."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath

from handful.service.artifact.formats.kinds import SUFFIXES
from handful.service.artifact.image_files import entries
from handful.service.artifact.images import may_be_image
from handful.service.library.contents import FileKey, content_key


@dataclass(frozen=True)
class LabelledFile:
    """One file below the folder of a label."""

    label: str
    place: str  # relative to the library, as training names it
    path: Path
    key: FileKey
    size_bytes: int
    added_at: datetime


@dataclass(frozen=True)
class LibraryPhoto(LabelledFile):
    """One photo; `id` is the sha256 of its content, which may lie in several files."""

    id: str

    @property
    def name(self) -> str:
        return self.path.name


def labelled_files(folders: Mapping[str, Path]) -> Iterator[LabelledFile]:
    for label, folder in folders.items():
        for path in _below(folder):
            with suppress(OSError):  # it was moved at this moment
                yield file_at(path, label, folder)


def file_at(path: Path, label: str, folder: Path | None = None) -> LabelledFile:
    """Raises OSError if it is gone."""
    status = path.stat()
    place = f"{label}/{path.relative_to(folder or path.parent).as_posix()}"
    added_at = datetime.fromtimestamp(status.st_mtime, UTC)
    return LabelledFile(label, place, path, content_key(status), status.st_size, added_at)


def library_photo(file: LabelledFile, photo_id: str) -> LibraryPhoto:
    return LibraryPhoto(file.label, file.place, file.path, file.key, file.size_bytes, file.added_at, photo_id)


def label_counts(photos: Iterable[LibraryPhoto]) -> Counter[str]:
    """How many photos each label has; the same content twice under one label counts once."""
    return Counter(label for label, _ in {(photo.label, photo.id) for photo in photos})


def _below(folder: Path) -> Iterator[Path]:
    """The photos in a folder and those below it; names that are no text are left out: nobody could ask for them."""
    todo = [folder]
    while todo:
        with suppress(FileNotFoundError):
            for entry in entries(todo.pop()):
                if entry.is_dir(follow_symlinks=False):
                    todo.append(Path(entry.path))
                elif entry.is_file() and _is_text(entry.name) and _is_photo(entry):
                    yield Path(entry.path)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_photo(entry: os.DirEntry[str]) -> bool:
    return PurePath(entry.name).suffix.lower() in SUFFIXES or may_be_image(Path(entry.path))
