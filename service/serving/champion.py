"""The champion in memory: a new one is loaded and warmed while the old one answers, and then replaces it at once.

The champion is the version of a model that answers; a pointer file in the store names it. The pointer is polled: it is
one small file, it may lie on a network disk, and polling misses no change. If a version does not load, the old one
goes on answering.

`served.py` keeps one watcher for the default model, and one for each other model in memory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import ArtifactInconsistent, HandfulError, ModelNotFound
from handful.service.artifact.folder import EMBEDDINGS, ONNX, WEIGHTS
from handful.service.artifact.store import Store
from handful.service.compute.device import threads
from handful.service.http.errors import NotReady
from handful.service.http.metrics import ServiceMetrics
from handful.service.lean.engines import ServedClassifier, is_lean, needs_torch, served_classifier
from handful.service.lean.kept_classifier import KeptClassifier
from handful.service.settings import ANNOUNCED, Settings

logger = logging.getLogger(__name__)
COPIES = 3  # of the tensors, in memory
SMALL_BATCHES = 4  # images; as fast as 16 (training/LOG.md), and a quarter of the memory
GREY = 127
_SEE_LOG = "The service's log says why."
RETRY_SECONDS = 30.0  # until a version that did not load is tried again: the disk may have been at fault


@dataclass(frozen=True)
class LoadedVersion:
    """One version, ready to answer. A request keeps the one that it started with."""

    path: Path
    name: str  # in the store, else that of the card
    classifier: ServedClassifier
    card: bytes  # JSON
    held_bytes: int  # of memory: measured while it was loaded, at least what its tensors take
    folder: tuple[int, int]  # device and inode: they stay when the model is renamed

    @cached_property
    def model(self) -> str:
        return f"{self.name}:{self.classifier.card.version}"


class ChampionWatcher:
    """Keeps `current` at the version that one name's pointer names; it is replaced, never changed."""

    def __init__(
        self,
        settings: Settings,
        metrics: ServiceMetrics,
        name: str | None = None,
        thread: ThreadPoolExecutor | None = None,
    ) -> None:
        """Without a name it watches the default model: that of the settings, else the one that was made first.

        `thread` loads; one of its own where it is not given, so that whatever else waits does not stop a swap.
        """
        self.is_default = name is None
        self.name = name or settings.default_name
        self.poll_seconds, self.batch_images = settings.poll_seconds, settings.batch_images
        self.metrics, self.fixed = metrics, settings.model if self.is_default else None
        self.cores, self._follows = threads(), bool(settings.follow)
        self._current: LoadedVersion | None = None
        self._failed: tuple[Path, float] | None = None  # the version that did not load, and when to try it again
        self._problem, self._logged = "It is being loaded.", ""
        self.missing = False  # the store has no such model any more; as the default it goes on answering
        self.moved = False  # it was renamed, deleted or brought back while it was loaded, which says nothing about it
        self.tried = asyncio.Event()  # set once the first version has been loaded, or could not be
        self._thread = thread or ThreadPoolExecutor(1, "champion")
        # `handful serve` itself says what is served first, or that nothing is
        self._level = logging.INFO if ANNOUNCED in os.environ or not self.is_default else logging.WARNING

    @property
    def ready(self) -> bool:
        return self._current is not None

    @property
    def current(self) -> LoadedVersion:
        """Raises `NotReady` until a version is loaded."""
        if self._current is None:
            raise NotReady(f"No model is ready to answer. {self._problem}")
        return self._current

    async def follow(self) -> None:
        """Polls until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self.poll_seconds)

    async def look(self) -> None:
        """Loads what the pointer names, if it is new. A broken version or disk neither ends this nor fills the log."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._update)
        except Exception as e:
            known = isinstance(e, HandfulError)
            self._problem = str(e) if isinstance(e, ModelNotFound) and not self._follows else _SEE_LOG
            if str(e) != self._logged:
                level = self._level if isinstance(e, ModelNotFound) else logging.WARNING
                logger.log(level, "The champion cannot be loaded: %s", e, exc_info=not known)
            self._logged = str(e)
        self.tried.set()

    def _update(self) -> None:
        self.moved = False
        path, current = self.fixed or self._champion(), self._current
        if current and path == current.path:
            return
        if self._failed and path == self._failed[0] and time.monotonic() < self._failed[1]:
            return
        self._failed = path, time.monotonic() + RETRY_SECONDS  # unless it loads
        before = _moves(path)
        try:
            loaded = load(path, self.batch_images, self.cores, in_small_batches=not self.is_default)
        except Exception as e:
            self.moved = not before or _moves(path) != before
            if not self.moved:
                raise
            self._failed = None
            raise ModelNotFound(f"{path.parent.name}:{path.name} was renamed or deleted while it was loaded.") from e
        level = logging.WARNING if current else self._level
        self._failed, self._current = None, loaded
        self.name = loaded.name  # a second name in the store must not make the choice ambiguous
        if self.is_default:
            self.metrics.version.set(int(loaded.classifier.card.version))
        logger.log(level, "%s is served", loaded.model)

    def _champion(self) -> Path:
        """Raises `ModelNotFound`."""
        store = Store()
        try:
            path = store.champion_path(self.name or store.oldest())
        except ModelNotFound:
            renamed = self.is_default and self._current and renamed_to(store, self._current)
            if not renamed:
                self.missing = True
                raise
            self.name, path = renamed, store.champion_path(renamed)
        self.missing = False
        return path


def torch_answers_first(settings: Settings) -> bool:
    """Whether torch answers for the default model; if that does not load, the worker says why."""
    store = Store()
    try:
        model = settings.model or (
            store.champion_path(settings.default_name or store.oldest()) if store.names() else None
        )
        return needs_torch(model)
    except (HandfulError, OSError):
        return False


def renamed_to(store: Store, loaded: LoadedVersion) -> str | None:
    """The name under which the store has this version's folder now."""
    for name in store.names():
        with suppress(OSError):
            if _identity(store.models / name / loaded.path.name) == loaded.folder:
                return name
    return None


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _moves(path: Path) -> list[tuple[int, int, int]]:
    """What changes when the version or its model is renamed, even there and back; empty while it is away."""
    places = [path, path.parent] if path.parent.parent == Store().models else [path]
    with suppress(OSError):
        return [(status.st_dev, status.st_ino, status.st_ctime_ns) for status in map(Path.stat, places)]
    return []


def load(path: Path, batch_images: int, cores: int, *, in_small_batches: bool = False) -> LoadedVersion:
    """Reads, verifies and warms one version. Raises an `ArtifactError`, or whatever torch raises for a broken one.

    `in_small_batches` keeps a CPU's engine from holding a third of a gigabyte for its largest batches. OpenVINO always
    computes small ones: they are as fast.
    """
    folder, before = _identity(path), process_bytes()
    classifier = served_classifier(path)
    if (in_small_batches or isinstance(classifier, KeptClassifier)) and classifier.batches_at_once is not None:
        classifier.limit_batch(SMALL_BATCHES)
    with ThreadPoolExecutor(1, "warm") as thread:  # a new thread: each has its own number of cores
        for images, share in _shapes(classifier, batch_images, cores):
            thread.submit(_warm, classifier, images, share).result()
    card, held_bytes = classifier.card, max(estimated_bytes(path), process_bytes() - before)
    name = path.parent.name if path.parent.parent == Store().models else card.name
    return LoadedVersion(path, name, classifier, card.model_dump_json().encode(), held_bytes, folder)


def process_bytes() -> int:
    """The memory that this process holds; 0 where that cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def estimated_bytes(path: Path) -> int:
    """What a version takes in memory at least: its tensors, and the copies that the engines make of them."""
    files = [path] if path.is_file() else [path / ONNX] if is_lean(path) else [path / WEIGHTS, path / EMBEDDINGS]
    return sum(COPIES * file.stat().st_size for file in files if file.is_file())


def _shapes(classifier: ServedClassifier, batch_images: int, cores: int) -> Iterator[tuple[int, int]]:
    """The batch sizes, with their cores, that the batcher will run: the first batch of each size is slow."""
    if classifier.batches_at_once is None:
        yield from ((1 << n, cores) for n in range(batch_images.bit_length()))
        return
    parallel = min(classifier.batches_at_once, cores)
    yield 1, cores
    largest = min(batch_images // parallel, classifier.batch)
    yield from ((1 << n, cores // parallel) for n in range(largest.bit_length()))


def _warm(classifier: ServedClassifier, images: int, cores: int) -> None:
    side = classifier.preprocessing.side_pixels
    grey = classifier.prepare(np.full((side, side, 3), GREY, np.uint8))
    predictions = classifier.answer([grey] * images, cores)
    if not all(0 <= prediction.confidence <= 1 for prediction in predictions):
        raise ArtifactInconsistent(f"{classifier.card.model} answers a grey image with no probabilities.")
