"""Images with their right label, sorted into a folder that `handful retrain` can be pointed at.

FOLDER/LABEL/SHA256.ENDING     each image once, whatever was said of it before; what was said last holds
FOLDER/.lock                   held while something changes: several workers share the folder
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from handful.service.artifact.atomic import locked, replacement, sweep
from handful.service.artifact.image_files import entries
from handful.service.artifact.images import content_sha256, read_image
from handful.service.http.errors import FeedbackFull, LabelUnknown, LabelWrong
from handful.service.http.filenames import flaw, folded, is_hidden, short
from handful.service.http.schemas import FeedbackBody

LABEL_LETTERS = 100
DECODED_SIDE = 64  # pixels; enough to know that a JPEG can be decoded to its end
_ENDINGS = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp", b"GIF8": "gif", b"BM": "bmp"}


class Image(NamedTuple):
    """One stored image."""

    path: Path
    size_bytes: int


class FeedbackFolder:
    """All calls read or write the disk; none is for the event loop."""

    def __init__(self, folder: Path, max_bytes: int, max_images: int) -> None:
        self.folder, self.max_bytes, self.max_images = folder, max_bytes, max_images

    def store(self, data: bytes, label: str) -> FeedbackBody:
        """The image lies under its label, and under no other; raises `FeedbackFull`, or OSError."""
        digest = content_sha256(data)
        name = f"{digest}.{_ending(data)}"
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock"):
            self._check_capitals(label)
            sweep(self.folder)
            found = list(self._images())
            before = next((image.path for image in found if image.path.name == name), None)
            target = self.folder / label / name
            if before is None:
                self._check_room(found, len(data))
                self._write(target, data)
            elif before != target:
                target.parent.mkdir(exist_ok=True)
                before.replace(target)
                with suppress(OSError):
                    before.parent.rmdir()  # a label without images is none
        return FeedbackBody(label=label, previous=before.parent.name if before else None, sha256=digest)

    def counts(self) -> dict[str, int]:
        """Images by label."""
        counts: dict[str, int] = {}
        for image in self._images():
            label = image.path.parent.name
            counts[label] = counts.get(label, 0) + 1
        return counts

    def _images(self) -> Iterator[Image]:
        if not self.folder.is_dir():
            return
        for label in (each for each in entries(self.folder) if each.is_dir()):
            with os.scandir(label.path) as files:
                yield from (Image(Path(file.path), file.stat().st_size) for file in files if file.is_file())

    def _check_capitals(self, label: str) -> None:
        for each in entries(self.folder):
            if each.name != label and folded(each.name) == folded(label):
                raise LabelWrong(f"The label {short(label)} is written {short(each.name)} in the folder.")

    def _check_room(self, found: Collection[Image], size_bytes: int) -> None:
        if len(found) >= self.max_images:
            raise FeedbackFull(f"There are {self.max_images} images already; retrain with them, then clear the folder.")
        if sum(image.size_bytes for image in found) + size_bytes > self.max_bytes:
            allowed = self.max_bytes / 1e6
            raise FeedbackFull(f"There are {allowed:g} MB of images; retrain with them, then clear the folder.")

    def _write(self, target: Path, data: bytes) -> None:
        try:
            with replacement(target, folder=self.folder) as part:
                part.write_bytes(data)
                target.parent.mkdir(exist_ok=True)
        except BaseException:
            with suppress(OSError):
                target.parent.rmdir()
            raise


def check_label(label: str, known: Collection[str], *, new: bool) -> str:
    """The label itself, where it is one of the model's, or may become one."""
    wrong = flaw(label)
    if not wrong and is_hidden(label):
        wrong = "would be hidden from training"
    if not wrong and len(label) > LABEL_LETTERS:
        wrong = f"is longer than {LABEL_LETTERS} letters"
    if wrong:
        raise LabelWrong(f"The label {short(label)} {wrong}; it must be fit to be a folder's name.")
    if label in known:
        return label
    if alike := [each for each in known if folded(each) == folded(label)]:
        raise LabelUnknown(f"The model has no label {short(label)}; it has {short(alike[0])}.")
    if not new:
        labels = ", ".join(map(short, sorted(known)[:10])) + (", …" if len(known) > 10 else "")
        raise LabelUnknown(f"The model has no label {short(label)}, but {labels}; new=true allows a new one.")
    return label


def check_image(data: bytes, max_megabytes: float, max_megapixels: float) -> None:
    """Raises the `ImageError` that a prediction would meet."""
    read_image(data, min_side=DECODED_SIDE, max_megabytes=max_megabytes, max_megapixels=max_megapixels)


def _ending(data: bytes) -> str:
    return next((ending for magic, ending in _ENDINGS.items() if data.startswith(magic)), "tiff")
