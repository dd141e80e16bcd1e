"""The processes that torchrun started, and what they send each other; a single process needs to send nothing.

Every process draws the same batches and computes its own shard of each. Gradients are summed, so that the result is
that of one process with the whole batch, up to rounding. DistributedDataParallel is not used: it divides by the number
of processes, which is wrong where a batch does not divide evenly, and hangs where a process has no photo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from handful.training.head.labelled import Rows
from torch import Tensor, distributed


@dataclass(frozen=True)
class Ranks:
    """The number of this process among `size`; process 0 prints and publishes."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def shard(self, rows: Rows) -> Rows:
        """The part that this process computes."""
        return rows[self.rank :: self.size]

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
    def first_rank_first(self) -> Iterator[None]:
        """Process 0 runs the block to its end before the others begin it."""
        if self.size > 1 and not self.first:
            distributed.barrier()
        yield
        if self.size > 1 and self.first:
            distributed.barrier()


def started_rank() -> int:
    """Which of torchrun's processes this is; 0 without torchrun. Opens no connection."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def process_group(*, fine_tuning: bool) -> Iterator[Ranks]:
    """All processes of torchrun, each with a GPU of its own where there are any.

    Without fine-tuning process 0 runs alone: the others have ended, and waiting for them would take forever.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not fine_tuning:
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(days=1))  # process 0 embeds while the others wait
    try:
        yield Ranks(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
