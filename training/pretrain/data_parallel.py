"""A batch learned from in parts side by side, each on its share of the cores.

Two small networks on one core each are through sooner than one on both, augmentation and the optimizer's step included.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from handful.training.pretrain.recipe import Recipe
from handful.training.pretrain.student import Student
from handful.training.pretrain.views import Batches, augmented
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer


def loss_of(outputs: tuple[Tensor, Tensor], targets: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    projected, logits = outputs
    weight = recipe.label_weight
    imitation = (1 - F.cosine_similarity(projected.float(), targets)).mean()
    if not (labels >= 0).any():
        return imitation
    supervised = F.cross_entropy(logits.float(), labels, ignore_index=-1)
    return (1 - weight) * imitation + weight * supervised


def sharing(student: Student) -> Student:
    """The same parameters, with gradients and statistics (BatchNorm) of its own, for one part of a batch."""
    other = copy.deepcopy(student)
    for own, copied in zip(student.parameters(), other.parameters(), strict=True):
        copied.data = own.data
    return other


def part_generator(recipe: Recipe, epoch: int, part: int) -> torch.Generator:
    return torch.Generator().manual_seed(recipe.seed * 1000 + epoch + part * 1_000_003)


def learn(
    data: Batches,
    recipe: Recipe,
    size: int,
    device: torch.device,
    student: Student,
    index: np.ndarray,
    generator: torch.Generator,
) -> float:
    """Leaves the gradient of one part of a batch in `student`; returns that part's share of the loss."""
    pixels, targets, labels = data.read(index)
    mean, std = (torch.tensor(v, device=device) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    batch = augmented(pixels, size, recipe, generator).to(device)
    batch = batch.sub_(mean[:, None, None]).div_(std[:, None, None])
    student.train()
    with torch.autocast(device.type, torch.bfloat16):
        outputs = student(batch.contiguous(memory_format=torch.channels_last))
    loss = loss_of(outputs, targets.to(device), labels.to(device), recipe) / recipe.parts
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def gather(student: Student, others: list[Student]) -> None:
    """The sum of all parts' gradients, in `student`."""
    for other in others:
        for own, theirs in zip(student.parameters(), other.parameters(), strict=True):
            if theirs.grad is not None:
                own.grad = theirs.grad if own.grad is None else own.grad.add_(theirs.grad)
        other.zero_grad()


def shares(optimizer: Optimizer, parts: int) -> list[Optimizer]:
    """Optimizers with one state between them, each for its share of the parameters, to step side by side."""
    made = []
    for part in range(parts):
        groups = [{**group, "params": group["params"][part::parts]} for group in optimizer.param_groups]
        made.append(type(optimizer)(groups))  # type: ignore[call-arg]  # every group carries all settings
        made[-1].state = optimizer.state
    return made


def set_learning_rate(optimizers: list[Optimizer], rate: float) -> None:
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = rate


def step_of(optimizer: Optimizer) -> None:
    optimizer.step()
