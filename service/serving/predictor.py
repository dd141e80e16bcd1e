"""Encoded images -> one prediction or error per image: decoded in processes, then batched."""

from __future__ import annotations

import asyncio

from handful.service.artifact.errors import ImageError
from handful.service.artifact.prediction import Prediction
from handful.service.decoding.decoders import Decoders
from handful.service.http.capacity import Admission
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.tracing import Tracing
from handful.service.serving.batcher import Batcher
from handful.service.serving.champion import LoadedVersion
from handful.service.serving.scores import ScoreMetrics
from handful.service.serving.served import ServedModels
from handful.service.settings import Settings


class Predictor:
    """Accepts a limited number of images at once, so that memory and waiting time are bounded."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        metrics: ServiceMetrics,
        decoders: Decoders,
        admission: Admission,
        tracing: Tracing,
    ) -> None:
        self.models, self.metrics, self.decoders, self.admission = models, metrics, decoders, admission
        self.batcher, self.scores = Batcher(settings.batch_images, metrics, tracing), ScoreMetrics(metrics)
        self.tracing = tracing

    async def answer(
        self, images: list[bytes], model: str | None = None
    ) -> tuple[LoadedVersion, list[Prediction | ImageError]]:
        """All are answered by one version, in order; a bad image gets its own error and joins no batch.

        `model` is a name, None the default. Only for images that `admission` has admitted. Raises `NotReady`, or
        `ModelUnknown` or `ModelTooLarge`.
        """
        version = self.models.default.current if model is None else await self.models.version(model)
        answers = [asyncio.ensure_future(self._predict(version, image)) for image in images]
        try:
            return version, await asyncio.gather(*answers)
        finally:
            for answer in answers:
                answer.cancel()  # if one of them was refused, the others need no answer; else it has no effect

    async def _predict(self, version: LoadedVersion, image: bytes) -> Prediction | ImageError:
        try:
            classifier = version.classifier
            with self.tracing.span("decode"):
                pixels = await self.decoders.pixels(image, classifier.preprocessing, classifier.prepare)
        except ImageError as e:
            self.metrics.errors.labels(e.code).inc()
            return e
        prediction = await self.batcher.predict(version, pixels)
        self.metrics.images.inc()
        if prediction.unknown:
            self.metrics.unknown.inc()
        self.scores.count(version.name, version.classifier.card, prediction)
        return prediction
