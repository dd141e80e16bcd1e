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
from handful.service.artifact.preprocessing import stacked
from handful.service.classifier import Prediction
from handful.service.http.metrics import Metrics
from handful.service.serving.champion import Served
from torch import Tensor


class _Waiting(NamedTuple):
    served: Served
    pixels: Tensor  # (3, S, S) float32
    answer: asyncio.Future[Prediction]


class Batcher:
    """Threads run the network, as many as it has parallel batches; everything else happens in the event loop."""

    def __init__(self, most_images: int, metrics: Metrics) -> None:
        self.most_images, self.metrics = most_images, metrics
        self.cores = torch.get_num_threads()
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._threads = ThreadPoolExecutor(self.cores, thread_name_prefix="network")

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
                parts = self._parts(batch)
                await asyncio.gather(*(self._answer(part, self.cores // len(parts)) for part in parts))

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
        return batch

    def _parts(self, batch: list[_Waiting]) -> list[list[_Waiting]]:
        """What runs at once: equal parts, each on its share of the cores; a GPU takes the whole.

        On a CPU a padded row costs as much as a real one, so a part has a power of two; the rest is next.
        """
        network = batch[0].served.classifier.network
        if network.device.type != "cpu":
            return [batch]
        parallel = min(network.parallel_batches, self.cores, len(batch))
        size = 1 << ((len(batch) // parallel).bit_length() - 1)
        self._waiting.extendleft(reversed(batch[parallel * size :]))
        return [batch[start : start + size] for start in range(0, parallel * size, size)]

    async def _answer(self, batch: list[_Waiting], cores: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            predictions = await loop.run_in_executor(self._threads, self._predict, batch, cores)
        except Exception as e:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(e)
            return
        for each, prediction in zip(batch, predictions, strict=True):
            if not each.answer.done():
                each.answer.set_result(prediction)

    def _predict(self, batch: list[_Waiting], cores: int) -> list[Prediction]:
        torch.set_num_threads(cores)  # of this thread; also of threads that are yet to compute for the first time
        started = time.perf_counter()
        predictions = batch[0].served.classifier.predict(stacked([each.pixels for each in batch]))
        self.metrics.network_seconds.observe(time.perf_counter() - started)
        self.metrics.batch.observe(len(batch))
        return predictions
