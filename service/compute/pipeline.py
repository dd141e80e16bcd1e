"""Sources -> decoded tensors in batches -> what the network says of them, in threads that work ahead of each other.

Pillow lets go of the interpreter while it decodes and resizes, so threads are enough, and
nothing is copied between processes. Only a bounded number of images is ever in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Generic, TypeVar

import torch
from handful.service.artifact.errors import ImageError
from handful.service.artifact.preprocessing import stacked
from handful.service.compute.device import cpu_count, thread_pools
from torch import Tensor

S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Batch(Generic[S, R]):
    """Consecutive sources; `pixels` holds one row for each that could be read, in order."""

    sources: Sequence[S]
    read: Sequence[R | ImageError]
    pixels: Tensor | None  # (N, 3, S, S) float32; None where none could be read


def run_batches(
    sources: Iterable[S],
    read: Callable[[S], R],
    pixels: Callable[[R], Tensor],
    run: Callable[[Batch[S, R]], T],
    *,
    size: int,
    lanes: int,
) -> Generator[T]:
    """What `run` says of each batch, in order; an `ImageError` that `read` raises stands in its place.

    Each of the `lanes` reads and runs batches of its own, on its share of the cores. (A batch
    that all cores share waits at every layer for the slowest of them, the more so while they
    decode, too.) With one lane, or one batch, threads read ahead and all cores run it.
    """
    iterator = iter(sources)
    first = list(islice(iterator, size + 1))
    sources = chain(first, iterator)
    if lanes == 1 or len(first) <= size:
        yield from map(run, read_batches(sources, read, pixels, size=size))
        return
    batches = iter(lambda: list(islice(sources, size)), [])

    def lane(batch: list[S]) -> T:
        return run(_batch(batch, [_outcome(partial(read, source)) for source in batch], pixels))

    with ThreadPoolExecutor(lanes, "lane", initializer=_take, initargs=(max(1, cpu_count() // lanes),)) as pool:
        running = deque(pool.submit(lane, batch) for batch in islice(batches, 2 * lanes))
        try:
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(lane, batch) for batch in islice(batches, 1))
        finally:
            for future in running:
                future.cancel()


def read_batches(
    sources: Iterable[S], read: Callable[[S], R], pixels: Callable[[R], Tensor], *, size: int
) -> Iterator[Batch[S, R]]:
    """Every source in order, exactly once, read ahead by a thread for each core."""
    iterator = iter(sources)
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="decode") as pool:
        ahead: deque[tuple[S, Future[R]]] = deque()

        def submit(count: int) -> None:
            ahead.extend((source, pool.submit(read, source)) for source in islice(iterator, count))

        submit(2 * size)
        try:
            while ahead:
                taken = [ahead.popleft() for _ in range(min(size, len(ahead)))]
                results = [_outcome(future.result) for _, future in taken]
                submit(len(taken))
                yield _batch([source for source, _ in taken], results, pixels)
        finally:
            for _, future in ahead:
                future.cancel()


def _batch(sources: list[S], results: list[R | ImageError], pixels: Callable[[R], Tensor]) -> Batch[S, R]:
    good = [pixels(result) for result in results if not isinstance(result, ImageError)]
    return Batch(sources, results, stacked(good) if good else None)


def _take(cores: int) -> None:
    """So many cores compute what this thread asks for from now on; those of other threads are not touched."""
    torch.get_num_threads()  # which settles torch's own number for a new thread; only then can another be set
    thread_pools().limit(limits=cores, user_api="openmp")


def _outcome(read: Callable[[], R]) -> R | ImageError:
    try:
        return read()
    except ImageError as e:
        return e
