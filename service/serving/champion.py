"""The champion in memory: loaded beside the one that serves, warmed, then swapped in at once.

The pointer is polled: it is one small file, it may lie on a network disk, and a poll misses nothing.
A version that does not load is refused, and the old one goes on serving.
"""

from __future__ import annotations

import asyncio
import logging
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
from handful.service.http.metrics import Metrics
from handful.service.settings import Settings

logger = logging.getLogger(__name__)
RETRY_SECONDS = 30.0  # a version that did not load is read again: it may have been the disk


@dataclass(frozen=True)
class Served:
    """One version, ready to answer; a request holds on to the one it began with."""

    path: Path
    classifier: Classifier
    card: bytes  # JSON

    @property
    def model(self) -> str:
        return self.classifier.card.model


class Champion:
    """Follows one name's pointer; `current` is replaced, never changed."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.name, self.poll_seconds, self.batch_images = settings.name, settings.poll_seconds, settings.batch_images
        self.metrics, self.fixed = metrics, settings.model
        self.cores = torch.get_num_threads()
        self._current: Served | None = None
        self._refused: tuple[Path, float] | None = None  # what did not load, and when to try it again
        self._problem = "It is being loaded."

    @property
    def ready(self) -> bool:
        return self._current is not None

    @property
    def current(self) -> Served:
        """Raises `NotReady` until there is one."""
        if self._current is None:
            raise NotReady(f"No model is ready to answer. {self._problem}")
        return self._current

    async def follow(self) -> None:
        """Never ends; a broken version or disk must not end the service, nor fill its log."""
        said = ""
        while True:
            try:
                await asyncio.to_thread(self._look)
            except Exception as e:
                self._problem = str(e) if isinstance(e, ModelNotFound) else "The service's log says why."
                if str(e) != said:
                    logger.warning("The champion cannot be had: %s", e, exc_info=not isinstance(e, HandfulError))
                said = str(e)
            await asyncio.sleep(self.poll_seconds)

    def _look(self) -> None:
        path, served = self.fixed or Store().resolve(self.name), self._current
        if served and path == served.path:
            return
        if self._refused and path == self._refused[0] and time.monotonic() < self._refused[1]:
            return
        self._refused = path, time.monotonic() + RETRY_SECONDS  # until it has proved itself
        served = load(path, self.batch_images, self.cores)
        self._refused, self._current = None, served
        self.name = served.classifier.card.name  # a second name must not make the choice unclear
        self.metrics.version.set(int(served.classifier.card.version))
        logger.warning("%s is served", served.model)


def load(path: Path, batch_images: int, cores: int) -> Served:
    """Reads, verifies and warms one version; raises an `ArtifactError`, or whatever a broken one provokes."""
    classifier = Classifier.load(path)
    with ThreadPoolExecutor(1, "warm") as thread:  # of its own: how many cores compute is a thread's own matter
        for images, share in _shapes(classifier, batch_images, cores):
            thread.submit(_warm, classifier, images, share).result()
    return Served(path, classifier, classifier.card.model_dump_json().encode())


def _shapes(classifier: Classifier, batch_images: int, cores: int) -> Iterator[tuple[int, int]]:
    """Images and cores of what the batcher will run, of which the first of each kind is slow."""
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
        raise ArtifactInconsistent(f"{classifier.card.model} answers a grey image with no probability.")
