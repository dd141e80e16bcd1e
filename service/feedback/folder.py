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
from handful.service.artifact.image_files import entries
from handful.service.artifact.images import content_sha256
from handful.service.artifact.label_names import normal_label
from handful.service.http.errors import FeedbackFull
from handful.service.http.schemas import FeedbackBody
from handful.service.library.labels import LabelFolders, suffix_of


class StoredImage(NamedTuple):
    """One image in the folder."""

    path: Path
    size_bytes: int


class FeedbackFolder:
    """Every method reads or writes the disk, so none may be called in the event loop."""

    def __init__(self, folder: Path, max_bytes: int, max_images: int) -> None:
        self.folder, self.max_bytes, self.max_images = folder, max_bytes, max_images
        self.labels = LabelFolders(folder)

    def store(self, data: bytes, label: str) -> FeedbackBody:
        """Puts the image under this label and removes it from any other.

        Raises `FeedbackFull`, `LabelWrong` or OSError.
        """
        digest = content_sha256(data)
        name = f"{digest}.{suffix_of(data)}"
        private_folder(self.folder)
        with locked(self.folder / ".lock"):
            self.labels.check_spelling(label)
            sweep(self.folder)
            images = list(self._images())
            before = next((image.path for image in images if image.path.name == name), None)
            target = self.labels.of_label(label) / name
            if before is None:
                self._check_limits(images, len(data))
                self._write(target, data)
            elif before != target:
                private_folder(target.parent)
                before.replace(target)
                with suppress(OSError):
                    before.parent.rmdir()  # a label without images must not remain
        return FeedbackBody(label=label, previous=normal_label(before.parent.name) if before else None, sha256=digest)

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
