"""Photos -> the pictures that a network sees, for a command that reads many: by its threads or in decoder processes.

Many threads of one process hinder each other while they decode, few do not (training/LOG.md has numbers). So a long run
tries both on alternate photos, once, and goes on with what was faster. The pictures are the same, bit for bit. A photo
that crashes its decoder is an error, and the next one gets a new decoder.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path, PurePath
from statistics import median
from types import TracebackType
from typing import Self

import numpy as np
from handful.service.artifact.images import decoding_memory, read_bytes, read_image
from handful.service.artifact.limits import ImageLimits, image_limits
from handful.service.artifact.preprocessing import Preprocessing, Source
from handful.service.artifact.remote import RemoteFile
from handful.service.compute.device import cpu_count
from handful.service.decoding.messages import Task
from handful.service.decoding.processes import (
    SMALL_BYTES,
    SMALL_LANE_BYTES,
    DecoderLost,
    DecoderSource,
    LargeImage,
    OwnDecoders,
    Reason,
    refusal,
)
from numpy.typing import NDArray
from PIL import Image

logger = logging.getLogger(__name__)
PHOTOS_BEFORE = 1000  # that threads read; starting the decoders takes about a second
PHOTOS_TRIED = 100  # each way
GAIN = 1.1  # times as fast must the decoders be
SECONDS = 600.0  # of computing, for one photo
WAITED_SECONDS = 3 * SECONDS  # by the clock


class PictureReader:
    """Used in a `with` block, from any number of threads; the decoders end with the block."""

    def __init__(self, preprocessing: Preprocessing, photos_before: int = PHOTOS_BEFORE, gain: float = GAIN) -> None:
        self.preprocessing, self._gain = preprocessing, gain
        self._numbers, self._lock, self._closed = count(), threading.Lock(), False
        self._started: tuple[DecoderSource, OwnDecoders] | None = None
        self._asked: OwnDecoders | None = None  # the same while they are asked
        self._after = photos_before if cpu_count() > 1 and hasattr(os, "fork") else None
        self._tried: dict[bool, list[float]] | None = {False: [], True: []}  # seconds, by threads and by decoders

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._closed, started, self._asked = True, self._started, None
        if started:
            source, decoders = started
            decoders.end_all()
            source.close()

    def __call__(self, source: Source) -> NDArray[np.uint8]:
        """The `(S, S, 3)` picture that the network sees; raises an `ImageError`."""
        number, decoders, limits = next(self._numbers), self._asked, image_limits()
        if number == self._after:
            threading.Thread(target=self._start, name="decoders", daemon=True).start()
        if decoders is None and self._started:
            self._started[1].end_own()  # threads were as fast
        if decoders is None or not isinstance(source, bytes | Path | RemoteFile):
            return self._pixels(self.preprocessing.read(source))
        if isinstance(source, RemoteFile):
            data = source.read(int(limits.megabytes * 1e6))
        else:
            data = source if isinstance(source, bytes) else read_bytes(source, max_megabytes=limits.megabytes)
        name = None if isinstance(source, bytes) else f"photo{PurePath(source.name).suffix}"
        tried, began = self._tried, time.perf_counter()
        away = tried is None or number % 2 == 0
        picture = self._read(data, name, limits, decoders if away else None)
        if tried is not None:
            self._learn(tried, time.perf_counter() - began, away=away)
        return picture

    def _read(
        self, data: bytes, name: str | None, limits: ImageLimits, decoders: OwnDecoders | None
    ) -> NDArray[np.uint8]:
        if decoders:
            with suppress(_NotThere, OSError):
                return self._decoded(decoders, data, self._task(limits, name))
        return self._pixels(read_image(data, min_side=self.preprocessing.min_decode_side, name=name))

    def _learn(self, tried: dict[bool, list[float]], seconds: float, *, away: bool) -> None:
        with self._lock:
            tried[away].append(seconds)
            if self._tried is None or min(map(len, tried.values())) < PHOTOS_TRIED:
                return
            self._tried, started = None, self._started
            here_seconds, there_seconds = median(tried[False]), median(tried[True])
            faster = there_seconds * self._gain <= here_seconds
            if not faster:
                self._asked = None
        if started and not faster:
            started[0].close()
        logger.info(
            "Photos are decoded %s: %.1f ms a photo in threads, %.1f in processes",
            "in processes" if faster else "in threads",
            1000 * here_seconds,
            1000 * there_seconds,
        )

    def _pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        return np.asarray(self.preprocessing.pixels(image))

    def _task(self, limits: ImageLimits, name: str | None) -> Task:
        return Task(
            preprocessing=self.preprocessing,
            name=name,
            max_megabytes=limits.megabytes,
            max_megapixels=limits.megapixels,
            max_decode_megabytes=limits.decode_megabytes,
            granted_bytes=min(SMALL_BYTES, SMALL_LANE_BYTES // cpu_count()),
            slow=True,
            seconds=SECONDS,
        )

    def _decoded(self, decoders: OwnDecoders, data: bytes, task: Task) -> NDArray[np.uint8]:
        """Raises `_NotThere` or OSError for what is left to the thread."""
        held_bytes = task.granted_bytes
        try:
            return decoders.ask(task, data, WAITED_SECONDS)
        except LargeImage as e:
            held_bytes = e.held_bytes
        except DecoderLost as e:
            if e.reason is Reason.TIME:
                raise refusal(e.reason, task.seconds) from e
        task = task.model_copy(update={"granted_bytes": held_bytes})
        with decoding_memory(image_limits()).held(held_bytes):
            try:
                return decoders.ask(task, data, WAITED_SECONDS)
            except DecoderLost as e:
                if e.reason is Reason.MEMORY:  # it may take more than its header tells
                    raise _NotThere from e
                raise refusal(e.reason, task.seconds) from e

    def _start(self) -> None:
        try:
            source = DecoderSource()
            source.decoder(niceness=0).kill()  # from now on one starts at once
        except OSError as e:  # threads read on
            logger.info("Photos are decoded in threads, as no process for it can be started: %s", e)
            return
        with self._lock:
            if not self._closed:
                decoders = self._asked = OwnDecoders(source, niceness=0)
                self._started = source, decoders
                return
        source.close()


class _NotThere(Exception):
    """No decoder decodes this one."""
