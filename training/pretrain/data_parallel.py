"""Data parallelism in threads: a batch is split into shards that are computed at the same time.

Each shard has its own replica of the student and its share of the cores. For a small network two replicas on one core
each are faster than one on both cores, because augmentation and the optimizer's step are parallel too.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from handful.training.pretrain.augmentation import augment_views
from handful.training.pretrain.recipe import PretrainRecipe
from handful.training.pretrain.student import Student
from handful.training.pretrain.views import Batches
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer


def distillation_loss(
    outputs: tuple[Tensor, Tensor], targets: Tensor, labels: Tensor, recipe: PretrainRecipe
) -> Tensor:
    """Cosine distance to the targets, and cross-entropy where a label is known (-1: unknown), weighted."""
    projected, logits = outputs
    weight = recipe.label_weight
    imitation = (1 - F.cosine_similarity(projected.float(), targets)).mean()
    if not (labels >= 0).any():
        return imitation
    supervised = F.cross_entropy(logits.float(), labels, ignore_index=-1)
    return (1 - weight) * imitation + weight * supervised


def replica_of(student: Student) -> Student:
    """A student that shares the parameters but has its own gradients and BatchNorm statistics."""
    other = copy.deepcopy(student)
    for own, copied in zip(student.parameters(), other.parameters(), strict=True):
        copied.data = own.data
    return other


def shard_generator(recipe: PretrainRecipe, epoch: int, shard: int) -> torch.Generator:
    return torch.Generator().manual_seed(recipe.seed * 1000 + epoch + shard * 1_000_003)


def backward_shard(
    data: Batches,
    recipe: PretrainRecipe,
    size: int,
    device: torch.device,
    student: Student,
    index: np.ndarray,
    generator: torch.Generator,
) -> float:
    """Adds the gradient of one shard of a batch to `student`; returns the shard's share of the batch's loss."""
    pixels, targets, labels = data.read(index)
    mean, std = (torch.tensor(v, device=device) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    batch = augment_views(pixels, size, recipe, generator).to(device)
    batch = batch.sub_(mean[:, None, None]).div_(std[:, None, None])
    student.train()
    with torch.autocast(device.type, torch.bfloat16):
        outputs = student(batch.contiguous(memory_format=torch.channels_last))
    loss = distillation_loss(outputs, targets.to(device), labels.to(device), recipe) / recipe.data_parallel
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def sum_gradients(student: Student, replicas: list[Student]) -> None:
    """Adds the gradients of the replicas to those of `student` and clears theirs."""
    for replica in replicas:
        for own, theirs in zip(student.parameters(), replica.parameters(), strict=True):
            if theirs.grad is not None:
                own.grad = theirs.grad if own.grad is None else own.grad.add_(theirs.grad)
        replica.zero_grad()


def sharded_optimizers(optimizer: Optimizer, count: int) -> list[Optimizer]:
    """`count` optimizers that share one state, each with its part of the parameters, so that they can step in threads.

    Together they make the same step as `optimizer`, whose `state_dict` stays complete.
    """
    optimizers = []
    for shard in range(count):
        groups = [{**group, "params": group["params"][shard::count]} for group in optimizer.param_groups]
        optimizers.append(type(optimizer)(groups))  # type: ignore[call-arg]  # every group carries all settings
        optimizers[-1].state = optimizer.state
    return optimizers


def set_learning_rate(optimizers: list[Optimizer], rate: float) -> None:
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = rate


def step_optimizer(optimizer: Optimizer) -> None:
    optimizer.step()
