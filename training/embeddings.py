"""Image files -> embeddings, each computed once and cached by file content, backbone and preprocessing.

The cache is one SQLite file. Two processes may write to it at once, and a killed process leaves it intact.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.artifact.images import read_bytes, read_image
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.device import cpu_count
from handful.service.compute.network import Network
from handful.service.compute.pipeline import Batch, run_batches
from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """One readable image."""

    path: Path
    content_sha256: str  # of the file's bytes
    pixels_sha256: str  # of the upright RGB picture: the same for the same picture in another file
    embedding: np.ndarray  # (D,) float32


@dataclass(frozen=True)
class _Decoded:
    content: str
    picture: str
    pixels: Tensor  # (3, S, S)


class Embedder:
    """Embeds files with one backbone and caches every embedding."""

    def __init__(self, network: Network, preprocessing: Preprocessing, backbone_sha256: str, cache: Path) -> None:
        self.network, self.preprocessing = network, preprocessing
        self.prefix = f"{backbone_sha256}:{preprocessing.sha256}:{network.device.type}-{network.arithmetic}:"
        self.cache = Cache(cache)

    def embed(
        self, paths: Sequence[Path], progress: Callable[[int], None] = lambda _: None
    ) -> list[Embedded | ImageError]:
        """One result per path, in order; for a file that cannot be read it is the `ImageError`."""
        with ThreadPoolExecutor(cpu_count()) as pool:
            contents = list(pool.map(content_sha256, paths))
        known = self.cache.get([self.prefix + c for c in contents if isinstance(c, str)])
        results: dict[Path, Embedded | ImageError] = {}
        missing: list[Path] = []
        for path, content in zip(paths, contents, strict=True):
            row = None if isinstance(content, ImageError) else known.get(self.prefix + content)
            if isinstance(content, ImageError):
                results[path] = content
            elif row is not None:
                results[path] = Embedded(path, content, *row)
            else:
                missing.append(path)
        progress(len(results))
        network = self.network
        network.expect(len(missing), self.preprocessing.side_pixels)
        lanes, size = network.lanes, network.batch
        for embedded in run_batches(missing, self._decode, lambda d: d.pixels, self._embed, size=size, lanes=lanes):
            self._keep(embedded)
            results.update(embedded)
            progress(len(embedded))
        return [results[path] for path in paths]

    def _decode(self, path: Path) -> _Decoded:
        data = read_bytes(path)
        image = read_image(data, min_side=self.preprocessing.min_decode_side)
        picture = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        return _Decoded(hashlib.sha256(data).hexdigest(), picture, self.preprocessing(image))

    def _embed(self, batch: Batch[Path, _Decoded]) -> list[tuple[Path, Embedded | ImageError]]:
        """Pads every batch to the full size, so that an embedding does not depend on the other images of its batch."""
        network = self.network
        rows = iter(() if batch.pixels is None else network.embed(batch.pixels, pad_to=network.batch).numpy())
        return [
            (path, read if isinstance(read, ImageError) else Embedded(path, read.content, read.picture, next(rows)))
            for path, read in zip(batch.sources, batch.read, strict=True)
        ]

    def _keep(self, embedded: Sequence[tuple[Path, Embedded | ImageError]]) -> None:
        fresh = [e for _, e in embedded if isinstance(e, Embedded)]
        self.cache.put({self.prefix + e.content_sha256: (e.pixels_sha256, e.embedding) for e in fresh})


def content_sha256(path: Path) -> str | ImageError:
    """Of the file's bytes; the error, not raised, where they cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except ImageError as e:
        return e


class Cache:
    """Key -> (pixels' sha256, embedding). A damaged file is replaced by an empty one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "embeddings.sqlite3"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._create()
        except sqlite3.DatabaseError as e:
            log.warning("%s was damaged (%s) and is replaced by an empty cache", self.path, e)
            for ending in ("", "-journal", "-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            self._create()
        except OSError as e:
            raise UsageError(f"{folder} cannot be written ({e.strerror}); set HANDFUL_HOME to another folder.") from e

    def get(self, keys: Sequence[str]) -> dict[str, tuple[str, np.ndarray]]:
        rows: dict[str, tuple[str, np.ndarray]] = {}
        with self._connection() as connection:
            for key in keys:
                row = connection.execute("SELECT picture, embedding FROM embeddings WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    rows[key] = (row[0], np.frombuffer(row[1], np.float32))
        return rows

    def put(self, rows: dict[str, tuple[str, np.ndarray]]) -> None:
        with self._connection() as connection, connection:
            connection.executemany(
                "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
                [(key, picture, embedding.astype(np.float32).tobytes()) for key, (picture, embedding) in rows.items()],
            )

    def _create(self) -> None:
        with self._connection() as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS embeddings (key TEXT PRIMARY KEY, picture TEXT, embedding BLOB)"
            )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection:
                yield connection
        except sqlite3.OperationalError as e:  # locked, read-only or a full disk: no damage
            raise UsageError(f"{self.path} cannot be used ({e}); set HANDFUL_HOME to a folder for writing.") from e
