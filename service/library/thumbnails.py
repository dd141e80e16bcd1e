"""A small JPEG per content, kept beside the photos in a hidden folder; made by the decoders, never here."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from handful.service.artifact.atomic import PRIVATE_FOLDER, replacement

FOLDER = "thumbnails"
SIDE = 256  # pixels of the longer side
SPARE = 200  # of photos that are gone: they come back where a deletion is undone
KEPT_SECONDS = 2 * 3600


class Thumbnails:
    """Of one library; every method reads or writes the disk."""

    def __init__(self, hidden: Path) -> None:
        self.hidden, self.folder = hidden, hidden / FOLDER

    def read(self, photo_id: str) -> bytes | None:
        """None where none was made yet."""
        try:
            return self._path(photo_id).read_bytes() or None
        except FileNotFoundError:
            return None

    def write(self, photo_id: str, jpeg: bytes) -> None:
        path = self._path(photo_id)
        for folder in (self.folder, path.parent):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        with replacement(path, folder=self.hidden) as part:
            part.write_bytes(jpeg)

    def sweep(self, ids: Collection[str]) -> None:
        """Removes those of photos that are gone for long, once there are many of them."""
        if not self.folder.is_dir():
            return
        kept, old = set(ids), time.time() - KEPT_SECONDS
        gone = [path for path in self.folder.glob("*/*.jpg") if path.stem not in kept]
        for path in gone if len(gone) > SPARE else ():
            with suppress(OSError):
                if path.stat().st_mtime < old:
                    os.unlink(path)  # noqa: PTH108

    def _path(self, photo_id: str) -> Path:
        return self.folder / photo_id[:2] / f"{photo_id}.jpg"
