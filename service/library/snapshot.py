"""The photos of a library as they are now, for a job: later changes do not reach it, and it takes no room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from handful.service.artifact.label_names import is_other
from handful.service.artifact.sources.folders import LIBRARY_MARK
from handful.service.http.library_errors import NothingToLearn, TooFewPhotos
from handful.service.library.learned import waiting_in
from handful.service.library.library import PhotoLibrary
from handful.service.library.listing import LibraryPhoto, label_counts

MIN_PHOTOS = 5  # that a label needs; training's own number
NAMED = 10  # labels in a sentence


def copy_all(library: PhotoLibrary, folder: Path) -> dict[str, str]:
    """Puts every photo into the folder; returns the contents by place. Raises `TooFewPhotos`."""
    with library.changing():
        photos = library.photos()
        check_enough(photos)
        return _copy(photos, folder)


def copy_waiting(library: PhotoLibrary, name: str, folder: Path) -> dict[str, str]:
    """The same with those that the champion has not learned, or under another label. Raises `NothingToLearn`."""
    with library.changing():
        photos, _ = waiting_in(library, name)
        if not photos:
            raise NothingToLearn("The model has learned every photo of its library already; add or move some first.")
        return _copy(photos, folder)


def copy_to_measure(library: PhotoLibrary, folder: Path) -> dict[str, str]:
    """The same with every photo, however few. Raises `TooFewPhotos` if there is none."""
    with library.changing():
        photos = library.photos()
        if not photos:
            raise TooFewPhotos("The photo library is empty; at least one photo is needed.")
        return _copy(photos, folder)


def check_enough(photos: Collection[LibraryPhoto]) -> None:
    """Raises `TooFewPhotos` where nothing can be learned."""
    counts = {label: count for label, count in label_counts(photos).items() if not is_other(label)}
    enough = sum(count >= MIN_PHOTOS for count in counts.values())
    if enough < min(2, max(1, len(counts))):
        raise TooFewPhotos(
            f"At least {MIN_PHOTOS} photos are needed of {'each of two labels' if len(counts) > 1 else 'a label'};"
            f" there are {_named(counts)}."
        )


def _named(counts: Mapping[str, int]) -> str:
    each = [f"{count} of {label}" for label, count in sorted(counts.items())]
    return ", ".join(each[:NAMED]) + (", …" if len(each) > NAMED else "") if each else "none"


def _copy(photos: Collection[LibraryPhoto], folder: Path) -> dict[str, str]:
    contents = {}
    (folder / LIBRARY_MARK).mkdir(parents=True, exist_ok=True)
    for photo in photos:
        target = folder / PurePosixPath(photo.place)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # taken away by hand at this moment
            _link(photo.path, target)
            contents[photo.place] = photo.id
    return contents


def _link(path: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the disk has no such thing."""
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(path, target)
