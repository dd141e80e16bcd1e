"""The champion in memory: a new one is loaded and warmed while the old one answers, and then replaces it at once.

The champion is the version of a model that answers; a pointer file in the store names it. The pointer is polled: it is
one small file, it may lie on a network disk, and polling misses no change. If a version does not load, the old one
goes on answering.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from handful.service.artifact.errors import ArtifactInconsistent, HandfulError, ModelNotFound
from handful.service.artifact.store import Store
from handful.service.classifier import Classifier
from handful.service.http.errors import NotReady
from handful.service.http.metrics import ServiceMetrics
from handful.service.settings import ANNOUNCED, Settings

logger = logging.getLogger(__name__)
RETRY_SECONDS = 30.0  # until a version that did not load is tried again: the disk may have been at fault


@dataclass(frozen=True)
class LoadedVersion:
    """One version, ready to answer. A request keeps the one that it started with."""

    path: Path
    classifier: Classifier
    card: bytes  # JSON

    @property
    def model(self) -> str:
        return self.classifier.card.model


class ChampionWatcher:
    """Keeps `current` at the version that one name's pointer names; it is replaced, never changed."""

    def __init__(self, settings: Settings, metrics: ServiceMetrics) -> None:
        self.name, self.poll_seconds, self.batch_images = settings.name, settings.poll_seconds, settings.batch_images
        self.metrics, self.fixed = metrics, settings.model
        self.cores = torch.get_num_threads()
        self._current: LoadedVersion | None = None
        self._failed: tuple[Path, float] | None = None  # the version that did not load, and when to try it again
        self._problem = "It is being loaded."
        self.tried = asyncio.Event()  # set once the first version has been loaded, or could not be
        self._thread = ThreadPoolExecutor(1, "champion")  # its own: whatever else waits must not stop a swap
        # `handful serve` itself says what is served first, or that nothing is
        self._level = logging.INFO if ANNOUNCED in os.environ else logging.WARNING

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
        """Polls until it is cancelled. A broken version or disk neither ends the service nor fills its log."""
        logged = ""
        while True:
            try:
                await asyncio.to_thread(self._update)
            except Exception as e:
                self._problem = str(e) if isinstance(e, ModelNotFound) else "The service's log says why."
                if str(e) != logged:
                    level = self._level if isinstance(e, ModelNotFound) else logging.WARNING
                    logger.log(level, "The champion cannot be loaded: %s", e, exc_info=not isinstance(e, HandfulError))
                logged = str(e)
            self.tried.set()
            await asyncio.sleep(self.poll_seconds)

    def _update(self) -> None:
        path, current = self.fixed or Store().resolve(self.name), self._current
        if current and path == current.path:
            return
        if self._failed and path == self._failed[0] and time.monotonic() < self._failed[1]:
            return
        self._failed = path, time.monotonic() + RETRY_SECONDS  # unless it loads
        loaded = load(path, self.batch_images, self.cores)
        level = logging.WARNING if current else self._level
        self._failed, self._current = None, loaded
        self.name = loaded.classifier.card.name  # a second name in the store must not make the choice ambiguous
        self.metrics.version.set(int(loaded.classifier.card.version))
        logger.log(level, "%s is served", loaded.model)


def load(path: Path, batch_images: int, cores: int) -> LoadedVersion:
    """Reads, verifies and warms one version. Raises an `ArtifactError`, or whatever torch raises for a broken one."""
    classifier = Classifier.load(path)
    classifier.choose_fastest_for(None)
    with ThreadPoolExecutor(1, "warm") as thread:  # a new thread: each has its own number of cores
        for images, share in _shapes(classifier, batch_images, cores):
            thread.submit(_warm, classifier, images, share).result()
    return LoadedVersion(path, classifier, classifier.card.model_dump_json().encode())


def _shapes(classifier: Classifier, batch_images: int, cores: int) -> Iterator[tuple[int, int]]:
    """The batch sizes, with their cores, that the batcher will run: the first batch of each size is slow."""
    network = classifier.network
    if network.device.type != "cpu":
        yield from ((1 << n, cores) for n in range(batch_images.bit_length()))
        return
    parallel = min(network.parallel_batches, cores)
    yield 1, cores
    yield from ((1 << n, cores // parallel) for n in range(min(batch_images // parallel, network.batch).bit_length()))


def _warm(classifier: Classifier, images: int, cores: int) -> None:
    torch.set_num_threads(cores)
    side = classifier.preprocessing.side_pixels
    predictions = classifier.predict(torch.zeros(images, 3, side, side))
    if not all(0 <= prediction.confidence <= 1 for prediction in predictions):
        raise ArtifactInconsistent(f"{classifier.card.model} answers a grey image with no probabilities.")
