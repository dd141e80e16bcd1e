"""Decoded images -> predictions, several at a time, through the one network of a device.

Requests are never delayed to fill a batch: an image that arrives while the network is idle is computed at once, alone;
images that arrive while it runs share the next batch.

Written by hand because BentoML's batching took 93 ms for a lone request, and this takes 12.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from handful.service.artifact.prediction import Prediction
from handful.service.compute.device import threads
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.tracing import Tracing
from handful.service.serving.champion import LoadedVersion


class _Waiting(NamedTuple):
    version: LoadedVersion
    pixels: Any  # as the classifier's `prepare` makes them
    answer: asyncio.Future[_Computed]


class _Computed(NamedTuple):
    prediction: Prediction
    started_ns: int  # of the network, as `time.time_ns` has it
    ended_ns: int
    images: int  # that were computed with it


class Batcher:
    """Threads run the network, one per batch that it computes in parallel; the event loop does everything else."""

    def __init__(self, most_images: int, metrics: ServiceMetrics, tracing: Tracing) -> None:
        self.most_images, self.metrics, self.tracing = most_images, metrics, tracing
        self.cores = threads()
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._threads = ThreadPoolExecutor(self.cores, thread_name_prefix="network")

    async def predict(self, version: LoadedVersion, pixels: Any) -> Prediction:
        arrived_ns, answer = time.time_ns(), asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(version, pixels, answer))
        self._arrived.set()
        computed: _Computed = await answer
        self.tracing.record("wait", arrived_ns, computed.started_ns)
        self.tracing.record(
            "network", computed.started_ns, computed.ended_ns, model=version.model, batch_images=computed.images
        )
        return computed.prediction

    async def run(self) -> None:
        """Runs until it is cancelled. If the network raises, its batch gets the error and the batcher goes on."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while batch := self._next():
                parts = self._parts(batch)
                await asyncio.gather(*(self._answer(part, self.cores // len(parts)) for part in parts))

    def _next(self) -> list[_Waiting]:
        """The image that arrived first and those behind it of its version, without those that nobody waits for.

        Images of other versions keep their order: whichever arrived first begins the next batch.
        """
        waiting, batch, others = self._waiting, list[_Waiting](), list[_Waiting]()
        while waiting and len(batch) < self.most_images:
            each = waiting.popleft()
            if each.answer.done():
                continue
            if batch and each.version is not batch[0].version:
                others.append(each)
            else:
                batch.append(each)
        waiting.extendleft(reversed(others))
        return batch

    def _parts(self, batch: list[_Waiting]) -> list[list[_Waiting]]:
        """Equal parts to run in parallel, each on its share of the cores; on a GPU the whole batch.

        On a CPU a padded row costs as much as a real one, so the size of a part is a power of two; the remaining
        images wait for the next batch.
        """
        classifier = batch[0].version.classifier
        if classifier.batches_at_once is None:
            return [batch]
        parallel = min(classifier.batches_at_once, self.cores, len(batch))
        size = min(1 << ((len(batch) // parallel).bit_length() - 1), classifier.batch)
        self._waiting.extendleft(reversed(batch[parallel * size :]))
        return [batch[start : start + size] for start in range(0, parallel * size, size)]

    async def _answer(self, batch: list[_Waiting], cores: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._threads, self._predict, batch, cores)
        except Exception as e:  # noqa: BLE001 - whatever it is, the requests that wait must get it
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(e)
            return
        for each, result in zip(batch, results, strict=True):
            if not each.answer.done():
                each.answer.set_result(result)

    def _predict(self, batch: list[_Waiting], cores: int) -> list[_Computed]:
        started, started_ns = time.perf_counter(), time.time_ns()
        predictions = batch[0].version.classifier.answer([each.pixels for each in batch], cores)
        self.metrics.network_seconds.observe(time.perf_counter() - started)
        self.metrics.batch.observe(len(batch))
        ended_ns = time.time_ns()
        return [_Computed(each, started_ns, ended_ns, len(batch)) for each in predictions]
