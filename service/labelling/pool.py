"""The photos of the folder that is labelled: their names and sizes, never their bytes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from handful.service.artifact.image_files import images, relative_name
from handful.service.http.library_errors import NoSuchPhoto
from handful.service.library.contents import FileKey, content_key

ID_DIGITS = 16  # of the sha256 of a name: enough for any folder, and it goes into an address as it is


@dataclass(frozen=True)
class PoolPhoto:
    """A file below the folder; `id` stands for its name, `name` is relative to the folder, with `/`."""

    id: str
    name: str
    path: Path
    key: FileKey

    @property
    def size_bytes(self) -> int:
        return self.key[1]


class PhotoPool:
    """Every method reads the disk. A folder of 10,000 photos is listed in less than a second."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self._photos: dict[str, PoolPhoto] = {}
        self._lock = threading.Lock()

    def look(self) -> dict[str, PoolPhoto]:
        """Id -> photo, listed anew, in an order by chance that is always the same."""
        found = {photo.id: photo for photo in self._files()}
        with self._lock:
            self._photos = {each: found[each] for each in sorted(found)}
            return self._photos

    def photos(self) -> dict[str, PoolPhoto]:
        """As at the last look."""
        return self._photos or self.look()

    def find(self, photo_id: str) -> PoolPhoto:
        """Raises `NoSuchPhoto`."""
        photo = self.photos().get(photo_id)
        if photo is None:
            raise NoSuchPhoto("There is no such photo in the folder that is labelled, perhaps no longer.")
        return photo

    def _files(self) -> Iterator[PoolPhoto]:
        for path in images(self.source):
            with suppress(OSError):  # it was taken away at this moment
                if path.is_file():
                    name = relative_name(path, self.source)
                    photo_id = hashlib.sha256(name.encode()).hexdigest()[:ID_DIGITS]
                    yield PoolPhoto(photo_id, name, path, content_key(path.stat()))
