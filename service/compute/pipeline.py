"""Sources -> batches of decoded images -> the network's results, with decoding and network in parallel threads.

Pillow releases the interpreter lock while it decodes and resizes, so threads suffice and nothing is copied between
processes. The number of images in memory is bounded.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Generic, TypeVar

from handful.service.artifact.errors import ImageError
from handful.service.artifact.preprocessing import stacked
from handful.service.compute.device import cpu_count, thread_pools

if TYPE_CHECKING:
    from torch import Tensor

S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Batch(Generic[S, R]):
    """Consecutive sources with what `read` returned; `pixels` holds one row per readable source, in order."""

    sources: Sequence[S]
    read: Sequence[R | ImageError]
    pixels: Tensor | None  # (N, 3, S, S) float32; None if no source could be read, or no pixels were asked for


def run_batches(
    sources: Iterable[S],
    read: Callable[[S], R],
    pixels: Callable[[R], Tensor] | None,
    run: Callable[[Batch[S, R]], T],
    *,
    size: int,
    parallel_batches: int,
    all_cores_for_few: bool = True,
) -> Generator[T]:
    """Yields `run`'s result for each batch, in order; an `ImageError` that `read` raises takes its source's place.

    Without `pixels`, `run` works with what was read, and torch is not needed.

    `parallel_batches` threads each read and run whole batches on their share of the cores. (A batch on all cores
    waits in every layer for the slowest core, longer still while the cores also decode.) With one parallel batch, or
    sources for only one, threads read ahead and the batch runs on all cores; without `all_cores_for_few` sources for
    one are treated as more are, as the last bits of a result depend on the number of cores.
    """
    iterator = iter(sources)
    first = list(islice(iterator, size + 1))
    sources = chain(first, iterator)
    if parallel_batches == 1 or (all_cores_for_few and len(first) <= size):
        yield from map(run, read_batches(sources, read, pixels, size=size))
        return
    batches = iter(lambda: list(islice(sources, size)), [])

    def run_one(batch: list[S]) -> T:
        return run(_batch(batch, [_outcome(partial(read, source)) for source in batch], pixels))

    cores = max(1, cpu_count() // parallel_batches)
    with ThreadPoolExecutor(parallel_batches, "batch", initializer=_limit_cores, initargs=(cores,)) as pool:
        running = deque(pool.submit(run_one, batch) for batch in islice(batches, 2 * parallel_batches))
        try:
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(run_one, batch) for batch in islice(batches, 1))
        finally:
            for future in running:
                future.cancel()


def read_batches(
    sources: Iterable[S], read: Callable[[S], R], pixels: Callable[[R], Tensor] | None, *, size: int
) -> Iterator[Batch[S, R]]:
    """Batches of the sources in order, each source once, read ahead by one thread per core."""
    iterator = iter(sources)
    with ThreadPoolExecutor(cpu_count(), thread_name_prefix="decode") as pool:
        ahead: deque[tuple[S, Future[R]]] = deque()

        def submit(count: int) -> None:
            ahead.extend((source, pool.submit(read, source)) for source in islice(iterator, count))

        submit(2 * size)
        try:
            while ahead:
                next_ones = [ahead.popleft() for _ in range(min(size, len(ahead)))]
                results = [_outcome(future.result) for _, future in next_ones]
                submit(len(next_ones))
                yield _batch([source for source, _ in next_ones], results, pixels)
        finally:
            for _, future in ahead:
                future.cancel()


def _batch(sources: list[S], results: list[R | ImageError], pixels: Callable[[R], Tensor] | None) -> Batch[S, R]:
    readable = [] if pixels is None else [pixels(result) for result in results if not isinstance(result, ImageError)]
    return Batch(sources, results, stacked(readable) if readable else None)


def _limit_cores(cores: int) -> None:
    """Limits this thread's computations to so many cores; other threads keep theirs."""
    if torch := sys.modules.get("torch"):
        torch.get_num_threads()  # makes torch set its own number for a new thread; a later limit then replaces it
    thread_pools().limit(limits=cores, user_api="openmp")


def _outcome(read: Callable[[], R]) -> R | ImageError:
    try:
        return read()
    except ImageError as e:
        return e
