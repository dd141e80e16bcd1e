"""Encoded images -> each its prediction or its own error: decoded in threads, then batched."""

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
from handful.service.serving.champion import Champion, Served
from handful.service.settings import Settings
from torch import Tensor


class Intake:
    """Takes no more than there is room for, so that memory and waiting have a bound."""

    def __init__(self, settings: Settings, champion: Champion, metrics: ServiceMetrics) -> None:
        self.champion, self.metrics = champion, metrics
        self.answer_seconds = settings.answer_seconds
        self.limits = {"max_megabytes": settings.max_image_megabytes, "max_megapixels": settings.max_megapixels}
        self.waiting = Capacity(settings.max_waiting_images, "images")
        self.batcher = Batcher(settings.batch_images, metrics)
        self._decoders = ThreadPoolExecutor(cpu_count(), thread_name_prefix="decode")

    async def classify(self, images: list[bytes]) -> tuple[Served, list[Prediction | ImageError]]:
        """All by one version, in order; a bad image fails before it reaches a batch."""
        served = self.champion.current
        with self.waiting.reserve(len(images)):
            try:
                async with asyncio.timeout(self.answer_seconds):
                    return served, await asyncio.gather(*(self._one(served, image) for image in images))
            except TimeoutError as e:
                raise Overloaded(f"No answer within {self.answer_seconds:g} seconds; the service is full.") from e

    async def _one(self, served: Served, image: bytes) -> Prediction | ImageError:
        loop = asyncio.get_running_loop()
        try:
            pixels = await loop.run_in_executor(self._decoders, self._decode, served, image)
        except ImageError as e:
            self.metrics.errors.labels(e.code).inc()
            return e
        prediction = await self.batcher.predict(served, pixels)
        self.metrics.images.inc()
        if prediction.unknown:
            self.metrics.unknown.inc()
        return prediction

    def _decode(self, served: Served, image: bytes) -> Tensor:
        preprocessing = served.classifier.preprocessing
        started = time.perf_counter()
        try:
            return preprocessing(preprocessing.read(image, **self.limits))
        finally:
            self.metrics.decode_seconds.observe(time.perf_counter() - started)
