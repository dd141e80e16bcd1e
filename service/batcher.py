"""Decoded images -> predictions, several at a time, through the one network of a device.

Nobody is held back for company: whoever comes while the network is idle goes at once, alone;
whoever comes while it runs waits for it and shares the next batch with all who came meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from service.champion import Served
from service.classifier import Prediction
from service.metrics import Metrics


class _Waiting(NamedTuple):
    served: Served
    pixels: Tensor  # (3, S, S) float32
    answer: asyncio.Future[Prediction]


class Batcher:
    """One thread runs the network; everything else happens in the event loop."""

    def __init__(self, most_images: int, metrics: Metrics) -> None:
        self.most_images, self.metrics = most_images, metrics
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def predict(self, served: Served, pixels: Tensor) -> Prediction:
        answer: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(served, pixels, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Never ends; a network that fails fails its batch, not the batcher."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while batch := self._next():
                await self._answer(batch)

    def _next(self) -> list[_Waiting]:
        """Those that came first and have the same version; who gave up waiting is left out."""
        waiting, batch = self._waiting, list[_Waiting]()
        while waiting and len(batch) < self.most_images:
            if waiting[0].answer.done():
                waiting.popleft()
            elif batch and waiting[0].served is not batch[0].served:
                break
            else:
                batch.append(waiting.popleft())
        return self._unpadded(batch)

    def _unpadded(self, batch: list[_Waiting]) -> list[_Waiting]:
        """On a CPU a padded row costs as much as a real one, so a batch has a power of two; the rest is next."""
        if not batch or batch[0].served.classifier.network.device.type != "cpu":
            return batch
        count = 1 << (len(batch).bit_length() - 1)
        self._waiting.extendleft(reversed(batch[count:]))
        return batch[:count]

    async def _answer(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            predictions = await loop.run_in_executor(self._thread, self._predict, batch)
        except Exception as e:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(e)
            return
        for each, prediction in zip(batch, predictions, strict=True):
            if not each.answer.done():
                each.answer.set_result(prediction)

    def _predict(self, batch: list[_Waiting]) -> list[Prediction]:
        started = time.perf_counter()
        predictions = batch[0].served.classifier.predict(torch.stack([each.pixels for each in batch]))
        self.metrics.network_seconds.observe(time.perf_counter() - started)
        self.metrics.batch.observe(len(batch))
        return predictions
