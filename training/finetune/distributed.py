"""The processes that torchrun started, and what they tell each other; one process alone is the same, in silence.

Every process draws the same batches and computes its own part of each; gradients are summed, so that the result is
that of one process with the whole batch, up to rounding. DistributedDataParallel is not used: it divides by the number
of processes, which is wrong where a batch does not divide evenly, and stops where one has no photo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed


@dataclass(frozen=True)
class Ranks:
    """The number of this process among `size`; 0 is the one that speaks and publishes."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """The part of this process."""
        return numbers[self.rank :: self.size]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Each becomes its sum over all processes."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        sums = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, summed in zip(tensors, sums, strict=True):
            tensor.copy_(summed.view_as(tensor))

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first does it before all others begin."""
        if self.size > 1 and not self.first:
            distributed.barrier()
        yield
        if self.size > 1 and self.first:
            distributed.barrier()


def started_rank() -> int:
    """Which of torchrun's processes this is; 0 without torchrun. Asks nobody."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def joined(*, tuning: bool) -> Iterator[Ranks]:
    """All processes of torchrun, each with a GPU of its own where there are any.

    The first one alone where nothing is fine-tuned: the others have ended then, and would be waited for.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not tuning:
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(days=1))  # the first one embeds while the others wait
    try:
        yield Ranks(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
