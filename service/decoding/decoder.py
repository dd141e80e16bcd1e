"""One decoder: a process that turns encoded images into the pixels that the network sees, one after the other."""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from handful.service.artifact.errors import ImageError
from handful.service.artifact.formats.opening import prepare_decoders
from handful.service.artifact.images import OpenedImage, opened_image
from handful.service.decoding.messages import LARGE, NO_MEMORY, PIXELS, THUMBNAIL, Task, decoded_task, encoded_error
from PIL import Image

CHECKED_SIDE = 64  # pixels; decoding a JPEG at this size is fast and still reads it to its end
THUMBNAIL_QUALITY = 82  # of JPEG
SLACK_BYTES = 16_000_000  # of memory, for Python itself


def prepare() -> None:
    """Imports every decoder now, so that the forked processes share it."""
    prepare_decoders()


def answer_tasks(descriptor: int, niceness: int) -> None:
    """Answers tasks until their sender is gone."""
    _restrict(niceness)
    connection = Connection(descriptor)
    with suppress(EOFError, ConnectionError):
        while True:
            task = decoded_task(connection.recv_bytes())
            answer = _answer(task, connection.recv_bytes())
            connection.send_bytes(answer)
            if answer == NO_MEMORY:
                return  # what is left of it may be in pieces: the next process begins afresh


def _restrict(niceness: int) -> None:
    os.nice(niceness)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))  # a decoder writes no files
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # before its worker


def _answer(task: Task, data: bytes) -> bytes:
    side = task.thumbnail_side or (task.preprocessing.min_decode_side if task.preprocessing else CHECKED_SIDE)
    limits = {name: getattr(task, name) for name in ("max_megabytes", "max_megapixels", "max_decode_megabytes")}
    try:
        with _limited(task), opened_image(data, min_side=side, name=task.name, **limits) as image:
            return _decoded(task, image)
    except ImageError as e:
        return encoded_error(e)
    except MemoryError:
        return NO_MEMORY


def _decoded(task: Task, image: OpenedImage) -> bytes:
    cost = image.cost
    if cost.held_bytes > task.granted_bytes or (cost.slow and not task.slow):
        return LARGE + str(cost.held_bytes).encode()
    picture = image.decode()
    if task.thumbnail_side:
        return THUMBNAIL + _thumbnail(picture, task.thumbnail_side)
    return PIXELS + (task.preprocessing.pixels(picture).tobytes() if task.preprocessing else b"")


def _thumbnail(picture: Image.Image, side: int) -> bytes:
    """A JPEG of the whole picture; never enlarged."""
    picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=THUMBNAIL_QUALITY)
    return file.getvalue()


@contextmanager
def _limited(task: Task) -> Iterator[None]:
    """More memory is not to be had in the block, and more time ends the process."""
    signal.setitimer(signal.ITIMER_PROF, task.seconds)  # SIGPROF ends it, in the middle of C code too
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit_memory(pages * resource.getpagesize() + task.granted_bytes + SLACK_BYTES + _resized_bytes(task))
    try:
        yield
    finally:
        _limit_memory(resource.RLIM_INFINITY)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _resized_bytes(task: Task) -> int:
    """Of the resized picture, which is at most eight times as long as it is wide, and its half-resized one."""
    preprocessing = task.preprocessing
    side = preprocessing.side_pixels / preprocessing.crop_pct if preprocessing else 0
    return int(64 * max(side, task.thumbnail_side) ** 2)


def _limit_memory(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (count, resource.RLIM_INFINITY))
