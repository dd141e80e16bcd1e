"""Encoded images -> one prediction or error per image: decoded in processes, then batched."""

from __future__ import annotations

import asyncio

from handful.service.artifact.errors import ImageError
from handful.service.classifier import Prediction
from handful.service.decoding.decoders import Decoders
from handful.service.http.capacity import Admission
from handful.service.http.metrics import ServiceMetrics
from handful.service.serving.batcher import Batcher
from handful.service.serving.champion import ChampionWatcher, LoadedVersion
from handful.service.settings import Settings


class Predictor:
    """Accepts a limited number of images at once, so that memory and waiting time are bounded."""

    def __init__(
        self,
        settings: Settings,
        champion: ChampionWatcher,
        metrics: ServiceMetrics,
        decoders: Decoders,
        admission: Admission,
    ) -> None:
        self.champion, self.metrics, self.decoders, self.admission = champion, metrics, decoders, admission
        self.batcher = Batcher(settings.batch_images, metrics)

    async def answer(self, images: list[bytes]) -> tuple[LoadedVersion, list[Prediction | ImageError]]:
        """All are answered by one version, in order; a bad image gets its own error and joins no batch.

        Only for images that `admission` has admitted. Raises `NotReady`.
        """
        version = self.champion.current
        answers = [asyncio.ensure_future(self._predict(version, image)) for image in images]
        try:
            return version, await asyncio.gather(*answers)
        finally:
            for answer in answers:
                answer.cancel()  # if one of them was refused, the others need no answer; else it has no effect

    async def _predict(self, version: LoadedVersion, image: bytes) -> Prediction | ImageError:
        try:
            pixels = await self.decoders.pixels(image, version.classifier.preprocessing)
        except ImageError as e:
            self.metrics.errors.labels(e.code).inc()
            return e
        prediction = await self.batcher.predict(version, pixels)
        self.metrics.images.inc()
        if prediction.unknown:
            self.metrics.unknown.inc()
        return prediction
