"""The photos that a command was given, here or at addresses, each with its name in the rows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from handful.service.artifact.errors import UsageError
from handful.service.artifact.remote import RemoteFile, fetching, is_url
from handful.service.classify.shards import Shard

if TYPE_CHECKING:  # it brings numpy, which the checks do not need
    from handful.service.artifact.sources.reader import ListedPhotos

Photo = Path | RemoteFile

FETCHING_THREADS = 32  # most of the time they wait for the store


class GivenPhotos:
    """The photos that a command was given: photos, folders of photos, zips, tables, datasets of the Hub, addresses.

    The name of a photo is its path below the folder, the zip or the table's folder, if one source was given; otherwise
    the path as it was given; of a photo in a table of addresses the address. `left_out` counts the other files by kind;
    it is complete once all photos were named.
    """

    def __init__(
        self, sources: Sequence[str | Path], path_column: str | None = None, shard: Shard | None = None
    ) -> None:
        """Raises `UsageError` for a path that is not there. Names are relative to `folder`; None: all shards."""
        self.sources = tuple(dict.fromkeys(map(given, sources)))
        for source in self.sources:
            if isinstance(source, Path) and not (source.exists() or source.as_posix().startswith("hf:/")):
                raise UsageError(f"{source} is not there; a photo or a folder, zip or table of photos is expected.")
        self._path_column, self.left_out, self.shard = path_column, Counter[str](), shard
        self.own_files: set[Path] = set()  # of the command, which may write into the folder
        first = self.sources[0]
        self.folder = first if len(self.sources) == 1 and isinstance(first, Path) and first.is_dir() else None

    def __iter__(self) -> Iterator[Photo]:
        shard = self.shard
        return (photo for photo in self.every() if shard is None or shard.holds(self.name(photo)))

    def count(self) -> tuple[int, int]:
        """How many photos there are, and how many of them in all shards."""
        if self.shard is None and all(self._listed.values()):
            known = sum(len(listed.photos) for listed in self._listed.values() if listed)
            return known, known
        own = every = 0
        for photo in self.every():
            every += 1
            own += self.shard is None or self.shard.holds(self.name(photo))
        return own, every

    def every(self) -> Iterator[Photo]:
        """The photos of all shards."""
        from handful.service.artifact.image_files import images  # brings numpy, which the check does not need

        left_out = Counter[str]()
        for source in self.sources:
            if listed := self._listed[source]:
                left_out += listed.left_out
                yield from listed.photos
            elif isinstance(source, Path) and source.is_dir():
                yield from images(source, left_out, self.own_files)
            else:
                yield source
        self.left_out = left_out

    @cached_property
    def _listed(self) -> dict[Photo, ListedPhotos | None]:
        """The sources that are read to know their photos; None for photos and folders."""
        from handful.service.artifact.sources.addresses import list_address
        from handful.service.artifact.sources.reader import list_photos

        return {
            source: list_photos(source, self._path_column)
            if isinstance(source, Path)
            else list_address(source, self._path_column)
            for source in self.sources
        }

    @property
    def read_as(self) -> list[str]:
        """A line for each source that is no photo or folder."""
        counts = {source: len(listed.photos) for source, listed in self._listed.items() if listed}
        return [f"{source}: {count:,} photo{'s' * (count != 1)}" for source, count in counts.items()]

    def name(self, photo: Photo) -> str:
        if isinstance(photo, RemoteFile):
            return self._name_of_address(photo.url)
        return os.fsencode(self._below(photo).as_posix()).decode("utf-8", "backslashreplace")

    def _name_of_address(self, url: str) -> str:
        only = self.sources[0] if len(self.sources) == 1 else None
        return url.removeprefix(f"{only}/") if isinstance(only, RemoteFile) else url

    def _below(self, path: Path) -> Path:
        if self.folder:
            return path.relative_to(self.folder)
        for source, listed in self._listed.items():
            if listed and path.is_relative_to(listed.root):
                below = path.relative_to(listed.root)
                return below if len(self.sources) == 1 else Path(str(source)) / below
        return path


def given(source: str | Path) -> Photo:
    """A source as it is written: an address, or a path."""
    if isinstance(source, Path):
        return source
    if is_url(source) and not source.startswith("hf://datasets/"):
        return RemoteFile(source.rstrip("/"))
    return Path(source.removeprefix("file://"))


def fetched_ahead(photos: Iterable[Photo]) -> Iterator[Photo]:
    """The same photos; those at addresses are being fetched from the moment at which they are taken from here.

    As many are in memory as whoever takes them keeps.
    """
    from handful.service.artifact.limits import image_limits

    most_bytes = int(image_limits().megabytes * 1e6)
    with fetching(FETCHING_THREADS) as pool:
        for photo in photos:
            if isinstance(photo, RemoteFile):
                photo.start(pool, most_bytes)
            yield photo
