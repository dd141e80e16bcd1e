"""Sources -> decoded tensors in batches: a pool of threads reads ahead while the network runs.

Pillow lets go of the interpreter while it decodes and resizes, so threads are enough, and
nothing is copied between processes. Only a bounded number of images is ever in memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from service.artifact.errors import ImageError

S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True)
class Batch(Generic[S, R]):
    """Consecutive sources; `pixels` holds one row for each that could be read, in order."""

    sources: Sequence[S]
    read: Sequence[R | ImageError]
    pixels: Tensor | None  # (N, 3, S, S) float32; None where none could be read


def cpu_count() -> int:
    """The cores this process may use, container limits included."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota() or affinity))


def _quota() -> int | None:
    """A container's CPU limit (cgroup v2), rounded up; None where there is none."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123
            quota, period = file.read().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None


def read_batches(
    sources: Iterable[S],
    read: Callable[[S], R],
    pixels: Callable[[R], Tensor],
    *,
    size: int,
    workers: int | None = None,
) -> Iterator[Batch[S, R]]:
    """Every source in order, exactly once; an `ImageError` that `read` raises stands in its place."""
    workers = workers or cpu_count()
    iterator = iter(sources)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        ahead: deque[tuple[S, Future[R]]] = deque()

        def submit(count: int) -> None:
            ahead.extend((source, pool.submit(read, source)) for source in islice(iterator, count))

        submit(2 * size)
        try:
            while ahead:
                taken = [ahead.popleft() for _ in range(min(size, len(ahead)))]
                results: list[R | ImageError] = [_outcome(future) for _, future in taken]
                submit(len(taken))
                good = [pixels(result) for result in results if not isinstance(result, ImageError)]
                yield Batch([source for source, _ in taken], results, torch.stack(good) if good else None)
        finally:
            for _, future in ahead:
                future.cancel()


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result()
    except ImageError as e:
        return e
