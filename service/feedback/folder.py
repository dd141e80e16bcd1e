"""Images with their right label, sorted into a folder that `handful retrain` can be pointed at.

FOLDER/LABEL/SHA256.SUFFIX     each image once, under the label that it was given last
FOLDER/.lock                   held during every change, because several workers share the folder
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from handful.service.artifact.atomic import locked, private_folder, replacement, sweep
from handful.service.artifact.formats.kinds import has_boxes, is_avif
from handful.service.artifact.image_files import entries
from handful.service.artifact.images import content_sha256
from handful.service.artifact.label_names import OTHER, is_other, normal_label
from handful.service.http.errors import FeedbackFull, LabelUnknown, LabelWrong
from handful.service.http.filenames import casefolded, filename_error, is_hidden, quoted
from handful.service.http.schemas import FeedbackBody

MAX_LABEL_LETTERS = 100
_SUFFIXES = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp", b"GIF8": "gif", b"BM": "bmp"}


class StoredImage(NamedTuple):
    """One image in the folder."""

    path: Path
    size_bytes: int


class FeedbackFolder:
    """Every method reads or writes the disk, so none may be called in the event loop."""

    def __init__(self, folder: Path, max_bytes: int, max_images: int) -> None:
        self.folder, self.max_bytes, self.max_images = folder, max_bytes, max_images

    def store(self, data: bytes, label: str) -> FeedbackBody:
        """Puts the image under this label and removes it from any other.

        Raises `FeedbackFull`, `LabelWrong` or OSError.
        """
        digest = content_sha256(data)
        name = f"{digest}.{_suffix(data)}"
        private_folder(self.folder)
        with locked(self.folder / ".lock"):
            self._check_capitals(label)
            sweep(self.folder)
            images = list(self._images())
            before = next((image.path for image in images if image.path.name == name), None)
            target = self._of_label(label) / name
            if before is None:
                self._check_limits(images, len(data))
                self._write(target, data)
            elif before != target:
                private_folder(target.parent)
                before.replace(target)
                with suppress(OSError):
                    before.parent.rmdir()  # a label without images must not remain
        return FeedbackBody(label=label, previous=normal_label(before.parent.name) if before else None, sha256=digest)

    def _of_label(self, label: str) -> Path:
        """Its folder, which an earlier release may have called by another form of the same letters."""
        alike = (Path(each.path) for each in entries(self.folder) if normal_label(each.name) == label)
        return next(alike, self.folder / label)

    def counts(self) -> dict[str, int]:
        """How many images each label has."""
        counts: dict[str, int] = {}
        for image in self._images():
            label = normal_label(image.path.parent.name)
            counts[label] = counts.get(label, 0) + 1
        return counts

    def _images(self) -> Iterator[StoredImage]:
        if not self.folder.is_dir():
            return
        for label in (each for each in entries(self.folder) if each.is_dir()):
            with os.scandir(label.path) as files:
                yield from (StoredImage(Path(file.path), file.stat().st_size) for file in files if file.is_file())

    def _check_capitals(self, label: str) -> None:
        for entry in entries(self.folder):
            if normal_label(entry.name) != label and casefolded(entry.name) == casefolded(label):
                raise LabelWrong(f"The label {quoted(label)} is written {quoted(entry.name)} in the folder.")

    def _check_limits(self, images: Collection[StoredImage], new_bytes: int) -> None:
        if len(images) >= self.max_images:
            raise FeedbackFull(
                f"The folder holds {self.max_images} images, which is its limit; retrain with them, then clear it."
            )
        if sum(image.size_bytes for image in images) + new_bytes > self.max_bytes:
            allowed = self.max_bytes / 1e6
            raise FeedbackFull(
                f"With this image the folder would exceed its limit of {allowed:g} MB; retrain with it, then clear it."
            )

    def _write(self, target: Path, data: bytes) -> None:
        try:
            with replacement(target, folder=self.folder) as part:
                part.write_bytes(data)
                private_folder(target.parent)
        except BaseException:
            with suppress(OSError):
                target.parent.rmdir()
            raise


def check_label(label: str, known: Collection[str], *, new: bool) -> str:
    """The label itself, if it is one of the model's `known` labels or may become one, or stands for none of them.

    Raises `LabelWrong` if it cannot name a folder, and `LabelUnknown` if the model lacks it and it is not meant as new.
    """
    label = normal_label(label)
    if error := _label_error(label):
        raise LabelWrong(f"The label {quoted(label)} {error}; it must be usable as a folder's name.")
    if label in map(normal_label, known):
        return label
    if similar := [each for each in known if casefolded(each) == casefolded(label)]:
        raise LabelUnknown(f"The model has no label {quoted(label)}; it has {quoted(similar[0])}.")
    if is_other(label):
        return OTHER
    if not new:
        labels = ", ".join(map(quoted, sorted(known)[:10])) + (", …" if len(known) > 10 else "")
        raise LabelUnknown(f"The model has no label {quoted(label)}; it has {labels}. new=true allows a new label.")
    return label


def _label_error(label: str) -> str | None:
    """Why this cannot be a label, as the end of a sentence."""
    if error := filename_error(label):
        return error
    if is_hidden(label):
        return "would be hidden from training"
    if len(label) > MAX_LABEL_LETTERS:
        return f"is longer than {MAX_LABEL_LETTERS} letters"
    return None


def _suffix(data: bytes) -> str:
    if has_boxes(data):
        return "avif" if is_avif(data) else "heic"
    return next((suffix for magic, suffix in _SUFFIXES.items() if data.startswith(magic)), "tiff")
