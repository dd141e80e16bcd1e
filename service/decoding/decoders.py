"""Encoded images -> pixels, in two lanes: what is small and fast is never behind what is large or slow.

Every image is first given to the small lane, whose decoders have little memory and time. What its header calls large,
and what takes longer than it looked, goes to the other lane: at low priority, with a budget of memory that images wait
for, and more time. Decoders that exceed their limits are killed and replaced.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from handful.service.artifact.errors import ImageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.device import cpu_count
from handful.service.decoding.messages import Task
from handful.service.decoding.processes import (
    SMALL_BYTES,
    SMALL_LANE_BYTES,
    DecoderLost,
    DecoderSource,
    LargeImage,
    OwnDecoders,
    refusal,
)
from handful.service.http.capacity import Budget, Capacity
from handful.service.http.errors import Overloaded
from handful.service.http.metrics import ServiceMetrics
from handful.service.settings import Settings
from numpy.typing import NDArray

T = TypeVar("T")

SMALL_SECONDS = 0.5  # of computing; a photo of a camera takes a fifth
STUCK_SECONDS = 5.0  # by the clock; if all small decoders are that old, none is of use
PATIENCE = 20  # times its computing time an image may take in the small lane by the clock, on a machine under load
LARGE_PATIENCE = 3
NICENESS = 10  # of the large lane
MOST_DECODERS = 16  # per lane


class Decoders:
    """One per worker."""

    def __init__(self, settings: Settings, metrics: ServiceMetrics) -> None:
        self.settings = settings
        self._source = source = DecoderSource()
        cores = min(cpu_count(), MOST_DECODERS)
        self._small = _Lane(source, metrics, cores, 0, SMALL_SECONDS * PATIENCE)
        self._large = _Lane(source, metrics, cores, NICENESS, settings.decode_seconds * LARGE_PATIENCE)
        self._small_bytes = min(SMALL_BYTES, SMALL_LANE_BYTES // cores)
        self._memory = Budget(int(settings.decode_megabytes * 1e6))
        self._images = Capacity(max(settings.max_images, settings.max_waiting_images // 4), "large images")
        held = max(settings.max_request_megabytes, settings.max_held_megabytes / 2)
        self._bytes = Capacity(int(held * 1e6), "bytes of large images")

    @property
    def problem(self) -> str | None:
        """Why no image is decoded at the moment, as a sentence."""
        if self._small.failed:
            return "No process to decode images in can be started."
        if self._small.busy_seconds() > STUCK_SECONDS:
            return "All decoders are stuck."
        return None

    def close(self) -> None:
        """No image is decoded from now on."""
        for lane in (self._small, self._large):
            lane.close()
        self._source.close()

    async def pixels(self, image: bytes, preprocessing: Preprocessing, prepare: Callable[[NDArray[np.uint8]], T]) -> T:
        """What `prepare` makes, in a thread, of the `(S, S, 3)` picture. Raises an `ImageError` or `Overloaded`."""
        return await self._decode(image, preprocessing, prepare)

    async def check(self, image: bytes) -> None:
        """Raises the `ImageError` that a prediction of this image would raise, or `Overloaded`."""
        await self._decode(image, None, len)

    async def thumbnail(self, image: bytes, side: int) -> bytes:
        """A JPEG, at most `side` pixels wide and high, upright and in sRGB. Raises an `ImageError` or `Overloaded`."""
        return await self._decode(image, None, lambda jpeg: jpeg.tobytes(), side)

    async def _decode(
        self,
        image: bytes,
        preprocessing: Preprocessing | None,
        prepare: Callable[[NDArray[np.uint8]], T],
        thumbnail_side: int = 0,
    ) -> T:
        task = Task(
            preprocessing=preprocessing,
            thumbnail_side=thumbnail_side,
            max_megabytes=self.settings.max_image_megabytes,
            max_megapixels=self.settings.max_megapixels,
            max_decode_megabytes=self.settings.decode_megabytes,
            granted_bytes=self._small_bytes,
            slow=False,
            seconds=min(SMALL_SECONDS, self.settings.decode_seconds),
        )
        held_bytes = self._small_bytes
        try:
            return await asyncio.wrap_future(self._small.submit(task, image, prepare))
        except LargeImage as e:
            held_bytes = e.held_bytes
        except DecoderLost:
            pass  # it was large or slow in spite of its header, or its decoder crashed
        with self._images.reserve(1), self._bytes.reserve(len(image)):
            return await self._decode_large(task, image, held_bytes, prepare)

    async def _decode_large(
        self, task: Task, image: bytes, held_bytes: int, prepare: Callable[[NDArray[np.uint8]], T]
    ) -> T:
        seconds = self.settings.decode_seconds
        task = task.model_copy(update={"granted_bytes": held_bytes, "slow": True, "seconds": seconds})
        await self._memory.take(held_bytes)
        loop, decoding = asyncio.get_running_loop(), self._large.submit(task, image, prepare)
        # Even where nobody waits for the image any more: the process holds the memory until it is finished or killed.
        decoding.add_done_callback(lambda _: loop.call_soon_threadsafe(self._memory.give_back, held_bytes))
        try:
            return await asyncio.wrap_future(decoding)
        except DecoderLost as e:
            raise refusal(e.reason, seconds) from e


class _Lane:
    """Threads, each of which waits for a decoder of its own."""

    def __init__(
        self, source: DecoderSource, metrics: ServiceMetrics, decoders: int, niceness: int, seconds: float
    ) -> None:
        self.metrics, self.seconds, self.decoders, self.failed = metrics, seconds, decoders, False
        self._threads = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
        self._own = OwnDecoders(source, niceness)
        self._busy: dict[int, float] = {}  # thread -> since when

    def submit(self, task: Task, image: bytes, prepare: Callable[[NDArray[np.uint8]], T]) -> Future[T]:
        """What is made of the answer; or `LargeImage`, `DecoderLost`, an `ImageError` or `Overloaded`."""
        return self._threads.submit(self._ask, task, image, prepare)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def busy_seconds(self) -> float:
        """For how long every decoder has been busy with one and the same image."""
        busy = list(self._busy.values())
        return time.monotonic() - max(busy) if len(busy) == self.decoders else 0.0

    def _ask(self, task: Task, image: bytes, prepare: Callable[[NDArray[np.uint8]], T]) -> T:
        thread, started = threading.get_ident(), time.monotonic()
        self._busy[thread] = started
        try:
            picture = self._own.ask(task, image, self.seconds)
        except OSError as e:
            self.failed = True
            raise Overloaded("No process to decode images in can be started; try again in a second.") from e
        except (ImageError, LargeImage, DecoderLost):
            self.failed = False
            raise
        finally:
            del self._busy[thread]
            self.metrics.decode_seconds.observe(time.monotonic() - started)
        self.failed = False
        return prepare(picture)
