"""Image files -> embeddings, each computed once and cached by file content, backbone and preprocessing.

The thumbnails that an artifact keeps are made from the same decoded pixels, where they are asked for.

The cache is one SQLite file. Two processes may write to it at once, and a killed process leaves it intact.
"""

from __future__ import annotations

import hashlib
import io
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from handful.service.artifact.atomic import private_file, private_folder
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.artifact.images import content_sha256, read_bytes, read_image
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.artifact.thumbnails import SIDE
from handful.service.compute.device import cpu_count
from handful.service.compute.network import Network
from handful.service.compute.pipeline import Batch, run_batches
from handful.training.photos.cue_numbers import cue_numbers
from PIL import Image
from torch import Tensor

log = logging.getLogger(__name__)
HELD_BYTES = 256_000_000  # of files that were read to be hashed and wait to be decoded


@dataclass(frozen=True)
class Embedded:
    """One readable image."""

    path: Path
    content_sha256: str  # of the file's bytes
    pixels_sha256: str  # of the upright RGB picture: the same for the same picture in another file
    embedding: np.ndarray  # (D,) float32
    thumbnail: bytes = b""  # a small JPEG; empty where none is kept
    cues: np.ndarray | None = None  # (7,) float32, of `cue_numbers`; None for a photo that an older version kept
    kept_as: str | None = None  # of a photo without its file: the name that an artifact keeps, or ""


@dataclass(frozen=True)
class _Decoded:
    content: str
    picture: str
    pixels: Tensor  # (3, S, S)
    thumbnail: bytes
    cues: np.ndarray  # (7,)


class Embedder:
    """Embeds files with one backbone and caches every embedding; with `thumbnails` the small pictures too."""

    def __init__(
        self,
        network: Network,
        preprocessing: Preprocessing,
        backbone_sha256: str,
        cache: Path,
        *,
        thumbnails: bool = False,
    ) -> None:
        self.network, self.preprocessing, self.thumbnails = network, preprocessing, thumbnails
        self.prefix = f"{backbone_sha256}:{preprocessing.sha256}:{network.device.type}-{network.arithmetic}:"
        self.decoded = f"{preprocessing.min_decode_side}:"  # the pixels of a thumbnail depend on it
        self.cache, self._files = Cache(cache), _Files(HELD_BYTES)

    def contents(self, paths: Sequence[Path]) -> list[str | ImageError]:
        """One `content_sha256` or error per path, in order; `embed` then need not read most of these files again."""
        with ThreadPoolExecutor(cpu_count()) as pool:
            return list(pool.map(self._files.content, paths))

    def embed(
        self, paths: Sequence[Path], progress: Callable[[int], None] = lambda _: None
    ) -> list[Embedded | ImageError]:
        """One result per path, in order; for a file that cannot be read it is the `ImageError`."""
        contents = self.contents(paths)
        readable = [content for content in contents if isinstance(content, str)]
        known = self.cache.get([self.prefix + content for content in readable])
        cues = self.cache.get_cues([self.decoded + content for content in readable])
        results: dict[Path, Embedded | ImageError] = {}
        missing: list[Path] = []
        for path, content in zip(paths, contents, strict=True):
            if isinstance(content, ImageError):
                results[path] = content
            elif self.prefix + content in known and self.decoded + content in cues:
                results[path] = Embedded(
                    path, content, *known[self.prefix + content], cues=cues[self.decoded + content]
                )
            else:
                missing.append(path)
        self._files.hold_only(missing)
        progress(len(results))
        network = self.network
        network.choose_engine_for(len(missing))
        parallel, size = network.parallel_batches, network.batch
        for embedded in run_batches(
            missing, self._decode, lambda d: d.pixels, self._embed, size=size, parallel_batches=parallel
        ):
            self._keep(embedded)
            results.update(embedded)
            progress(len(embedded))
        self._files.hold_only(())
        if self.thumbnails:
            self._add_thumbnails(results)
        return [results[path] for path in paths]

    def _decode(self, path: Path) -> _Decoded:
        content, data = self._files.take(path)
        image = read_image(data, min_side=self.preprocessing.min_decode_side, name=path.name)
        picture = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        small = _small(image) if self.thumbnails else b""
        return _Decoded(content, picture, self.preprocessing(image), small, cue_numbers(image, len(data)))

    def _add_thumbnails(self, results: dict[Path, Embedded | ImageError]) -> None:
        """To the photos whose embeddings were cached: from the cache, or from their files."""
        bare = {p: each for p, each in results.items() if isinstance(each, Embedded) and not each.thumbnail}
        cached = self.cache.get_thumbnails([self.decoded + each.content_sha256 for each in bare.values()])
        with ThreadPoolExecutor(cpu_count()) as pool:
            uncached = [path for path, each in bare.items() if self.decoded + each.content_sha256 not in cached]
            made = dict(zip(uncached, pool.map(self._thumbnail_of, [bare[path] for path in uncached]), strict=True))
        self.cache.put({}, {self.decoded + bare[path].content_sha256: jpeg for path, jpeg in made.items() if jpeg})
        for path, each in bare.items():
            jpeg = made[path] if path in made else cached[self.decoded + each.content_sha256]
            results[path] = replace(each, thumbnail=jpeg)

    def _thumbnail_of(self, image: Embedded) -> bytes:
        """Empty if the file was changed or deleted since it was hashed."""
        try:
            content, data = _read(image.path)
            if content == image.content_sha256:
                return _small(read_image(data, min_side=self.preprocessing.min_decode_side))
        except ImageError:
            pass
        return b""

    def _embed(self, batch: Batch[Path, _Decoded]) -> list[tuple[Path, Embedded | ImageError]]:
        """Pads every batch to the full size, so that an embedding does not depend on the other images of its batch."""
        network = self.network
        rows = iter(() if batch.pixels is None else network.embed(batch.pixels, pad_to=network.batch).numpy())
        return [
            (path, read if isinstance(read, ImageError) else _embedded(path, read, next(rows)))
            for path, read in zip(batch.sources, batch.read, strict=True)
        ]

    def _keep(self, embedded: Sequence[tuple[Path, Embedded | ImageError]]) -> None:
        fresh = [e for _, e in embedded if isinstance(e, Embedded)]
        rows = {self.prefix + e.content_sha256: (e.pixels_sha256, e.embedding) for e in fresh}
        cues = {self.decoded + e.content_sha256: e.cues for e in fresh if e.cues is not None}
        self.cache.put(rows, {self.decoded + e.content_sha256: e.thumbnail for e in fresh if e.thumbnail}, cues)


def _embedded(path: Path, read: _Decoded, embedding: np.ndarray) -> Embedded:
    return Embedded(path, read.content, read.picture, embedding, read.thumbnail, read.cues)


def _small(image: Image.Image) -> bytes:
    """A JPEG of at most `SIDE` pixels, about 3 kB; never enlarged."""
    scale = min(1.0, SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


class _Files:
    """Files that are read once: their bytes are held between hashing and decoding, up to a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._room_bytes, self._held, self._lock = limit_bytes, dict[Path, tuple[str, bytes]](), threading.Lock()

    def content(self, path: Path) -> str | ImageError:
        """The file's `content_sha256`."""
        if held := self._held.get(path):
            return held[0]
        try:
            content, data = _read(path)
        except ImageError as e:
            return e
        with self._lock:
            if path not in self._held and len(data) <= self._room_bytes:
                self._held[path] = content, data
                self._room_bytes -= len(data)
        return content

    def take(self, path: Path) -> tuple[str, bytes]:
        """The file's hash and bytes, which are then no longer held. Raises an `ImageError`."""
        with self._lock:
            held = self._held.pop(path, None)
            self._room_bytes += len(held[1]) if held else 0
        return held or _read(path)

    def hold_only(self, paths: Sequence[Path]) -> None:
        for path in self._held.keys() - set(paths):
            self.take(path)


def _read(path: Path) -> tuple[str, bytes]:
    data = read_bytes(path)
    return content_sha256(data), data


class Cache:
    """Key -> (pixels' sha256, embedding), and key -> thumbnail. A damaged file is replaced by an empty one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "embeddings.sqlite3"
        try:
            private_folder(folder)
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

    def put(
        self,
        rows: dict[str, tuple[str, np.ndarray]],
        thumbnails: dict[str, bytes] | None = None,
        cues: dict[str, np.ndarray] | None = None,
    ) -> None:
        """In one transaction, since each waits for the disk."""
        if not (rows or thumbnails):
            return
        numbers = {key: each.astype(np.float32).tobytes() for key, each in (cues or {}).items()}
        with self._connection() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", (thumbnails or {}).items())
            connection.executemany("INSERT OR REPLACE INTO cues VALUES (?, ?)", numbers.items())
            connection.executemany(
                "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
                [(key, picture, embedding.astype(np.float32).tobytes()) for key, (picture, embedding) in rows.items()],
            )

    def get_thumbnails(self, keys: Sequence[str]) -> dict[str, bytes]:
        return self._blobs("SELECT key, jpeg FROM thumbnails WHERE key = ?", keys)

    def get_cues(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        blobs = self._blobs("SELECT key, numbers FROM cues WHERE key = ?", keys)
        return {key: np.frombuffer(blob, np.float32) for key, blob in blobs.items()}

    def _blobs(self, select: str, keys: Sequence[str]) -> dict[str, bytes]:
        with self._connection() as connection:
            rows = [connection.execute(select, (key,)) for key in keys]
            return {key: blob for found in rows for key, blob in found}

    def _create(self) -> None:
        private_file(self.path)  # embeddings tell of their photos
        with self._connection() as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS thumbnails (key TEXT PRIMARY KEY, jpeg BLOB)")
            connection.execute("CREATE TABLE IF NOT EXISTS cues (key TEXT PRIMARY KEY, numbers BLOB)")
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
