"""A source of unlabelled photos -> their embeddings, in a file beside the cache, so that memory stays flat."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import DataError, ImageError, UsageError
from handful.service.artifact.image_files import images
from handful.service.artifact.remote import RemoteFile, url_of
from handful.service.artifact.sources.copies import labelled_copy
from handful.service.artifact.sources.listing import name_below
from handful.service.artifact.sources.reader import list_photos
from handful.service.terminal.progress import LOOKING, progress_bar
from handful.training.embeddings import Embedded, Embedder
from numpy.typing import NDArray

CHUNK = 2048  # photos whose embeddings are in memory at once


@dataclass(frozen=True)
class UnlabelledPhotos:
    """The files of a source; their names are relative to `root`."""

    root: Path
    paths: tuple[Path, ...]

    def name(self, path: Path) -> str:
        return name_below(path, self.root)


@dataclass(frozen=True)
class Pool:
    """N different photos that nobody has labelled; `embeddings` (N, D) lie in a file."""

    paths: tuple[Path, ...]
    embeddings: NDArray[np.float32]
    known: int  # further photos that the model has learned already
    twice: int  # further photos with the same picture as another one
    failed: tuple[tuple[Path, ImageError], ...]


def unlabelled(source: Path, path_column: str | None = None) -> UnlabelledPhotos:
    """`UsageError` for what is not there or cannot be read from here, `DataError` where there is no photo."""
    if url := url_of(source):
        source = labelled_copy(RemoteFile(url.rstrip("/")))
    found = list_photos(source, path_column)
    if found:
        root, every = found.root, list(found.photos)
    elif source.is_dir():
        root, every = source, list(images(source))
    else:
        raise UsageError(f"{source} is a single photo; a folder, zip or table of unlabelled photos is expected.")
    paths = [each for each in every if isinstance(each, Path)]
    if len(paths) < len(every):
        raise UsageError(f"{source} names photos at addresses; a table of files on this machine is expected.")
    if not paths:
        raise DataError(f"{source} holds no photo.")
    return UnlabelledPhotos(root, tuple(dict.fromkeys(paths)))


@contextmanager
def embedded_pool(
    photos: UnlabelledPhotos, embedder: Embedder, learned: Collection[str], cache: Path
) -> Iterator[Pool]:
    """Each picture once, without those in `learned`, which are sha256 of files or pictures."""
    seen, kept, known_photos = set[str](), list[Path](), frozenset(learned)
    failed: list[tuple[Path, ImageError]] = []
    known = twice = width = 0
    with tempfile.TemporaryFile(dir=cache) as file, progress_bar(LOOKING, len(photos.paths)) as progress:
        for start in range(0, len(photos.paths), CHUNK):
            chunk = photos.paths[start : start + CHUNK]
            for path, result in zip(chunk, embedder.embed(chunk, progress), strict=True):
                if not isinstance(result, Embedded):
                    failed.append((path, result))
                elif {result.content_sha256, result.pixels_sha256} & known_photos:
                    known += 1
                elif result.pixels_sha256 in seen:
                    twice += 1
                else:
                    seen.add(result.pixels_sha256)
                    kept.append(path)
                    width = len(result.embedding)
                    file.write(result.embedding.astype(np.float32).tobytes())
        file.flush()
        rows = np.memmap(file, np.float32, "r", shape=(len(kept), width)) if kept else np.empty((0, 1), np.float32)
        yield Pool(tuple(kept), rows, known, twice, tuple(failed))
