"""The photos below the folders of labels, as files that are there now."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from handful.service.artifact.formats.kinds import SUFFIXES
from handful.service.artifact.image_files import entries
from handful.service.artifact.images import may_be_image
from handful.service.library.contents import FileKey, content_key


@dataclass(frozen=True)
class LabelledFile:
    """One file below the folder of a label. Paths are made when they are needed: there may be many thousands."""

    label: str
    place: str  # relative to the library, as training names it
    location: str
    key: FileKey
    size_bytes: int
    added_at: datetime

    @property
    def path(self) -> Path:
        return Path(self.location)

    @property
    def name(self) -> str:
        return self.place.rpartition("/")[2]


@dataclass(frozen=True)
class LibraryPhoto(LabelledFile):
    """One photo; `id` is the sha256 of its content, which may lie in several files."""

    id: str


def labelled_files(folders: Mapping[str, Path]) -> Iterator[LabelledFile]:
    for label, folder in folders.items():
        for entry, place in _below(folder, label):
            with suppress(OSError):  # it was moved at this moment
                yield _file(entry.path, entry.stat(), label, place)


def file_at(path: Path, label: str) -> LabelledFile:
    """A file directly in the folder of a label. Raises OSError if it is gone."""
    return _file(str(path), path.stat(), label, f"{label}/{path.name}")


def _file(location: str, status: os.stat_result, label: str, place: str) -> LabelledFile:
    added_at = datetime.fromtimestamp(status.st_mtime, UTC)
    return LabelledFile(label, place, location, content_key(status), status.st_size, added_at)


def library_photo(file: LabelledFile, photo_id: str) -> LibraryPhoto:
    return LibraryPhoto(file.label, file.place, file.location, file.key, file.size_bytes, file.added_at, photo_id)


def label_counts(photos: Iterable[LibraryPhoto]) -> Counter[str]:
    """How many photos each label has; the same content twice under one label counts once."""
    return Counter(label for label, _ in {(photo.label, photo.id) for photo in photos})


def _below(folder: Path, place: str) -> Iterator[tuple[os.DirEntry[str], str]]:
    """The photos in a folder and those below it; names that are no text are left out: nobody could ask for them."""
    todo = [(folder, place)]
    while todo:
        folder, place = todo.pop()
        with suppress(FileNotFoundError):
            for entry in entries(folder):
                if not _is_text(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append((Path(entry.path), f"{place}/{entry.name}"))
                elif entry.is_file() and _is_photo(entry):
                    yield entry, f"{place}/{entry.name}"


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_photo(entry: os.DirEntry[str]) -> bool:
    return f".{entry.name.rpartition('.')[2].lower()}" in SUFFIXES or may_be_image(Path(entry.path))
