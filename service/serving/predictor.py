"""Encoded images -> one prediction or error per image: decoded in threads, then batched."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from handful.service.artifact.errors import ImageError
from handful.service.classifier import Prediction
from handful.service.compute.device import cpu_count
from handful.service.http.capacity import Capacity
from handful.service.http.errors import Overloaded
from handful.service.http.metrics import ServiceMetrics
from handful.service.serving.batcher import Batcher
from handful.service.serving.champion import ChampionWatcher, LoadedVersion
from handful.service.settings import Settings
from torch import Tensor


class Predictor:
    """Accepts a limited number of images at once, so that memory and waiting time are bounded."""

    def __init__(self, settings: Settings, champion: ChampionWatcher, metrics: ServiceMetrics) -> None:
        self.champion, self.metrics = champion, metrics
        self.answer_seconds = settings.answer_seconds
        self.limits = {"max_megabytes": settings.max_image_megabytes, "max_megapixels": settings.max_megapixels}
        self.waiting = Capacity(settings.max_waiting_images, "images")
        self.batcher = Batcher(settings.batch_images, metrics)
        self._decoders = ThreadPoolExecutor(cpu_count(), thread_name_prefix="decode")

    async def classify(self, images: list[bytes]) -> tuple[LoadedVersion, list[Prediction | ImageError]]:
        """All are answered by one version, in order; a bad image gets its own error and joins no batch.

        Raises `Overloaded` or `NotReady`.
        """
        version = self.champion.current
        with self.waiting.reserve(len(images)):
            try:
                async with asyncio.timeout(self.answer_seconds):
                    return version, await asyncio.gather(*(self._predict(version, image) for image in images))
            except TimeoutError as e:
                raise Overloaded(f"No answer within {self.answer_seconds:g} seconds; the service is full.") from e

    async def _predict(self, version: LoadedVersion, image: bytes) -> Prediction | ImageError:
        loop = asyncio.get_running_loop()
        try:
            pixels = await loop.run_in_executor(self._decoders, self._decode, version, image)
        except ImageError as e:
            self.metrics.errors.labels(e.code).inc()
            return e
        prediction = await self.batcher.predict(version, pixels)
        self.metrics.images.inc()
        if prediction.unknown:
            self.metrics.unknown.inc()
        return prediction

    def _decode(self, version: LoadedVersion, image: bytes) -> Tensor:
        preprocessing = version.classifier.preprocessing
        started = time.perf_counter()
        try:
            return preprocessing(preprocessing.read(image, **self.limits))
        finally:
            self.metrics.decode_seconds.observe(time.perf_counter() - started)
