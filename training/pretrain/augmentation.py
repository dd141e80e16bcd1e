"""What the student sees of a batch of views; where a part of a view moves, what the teacher saw there moves along."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.pretrain.recipe import Recipe
from training.pretrain.views import as_batch


def moved(pixels: Tensor, targets: Tensor, size: int, cells: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Small shifts, enlargements and mirroring, each picture its own.

    `(N, V, V, 3)` uint8 and `(N, dims, h, w)` -> `(N, 3, size, size)` in [0, 1] and `(N, dims, cells, cells)`.
    """
    count = len(pixels)
    window = torch.empty(count).uniform_(0.86, 1.0, generator=generator)
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * (1 - window[:, None])
    mirror = (torch.rand(count, generator=generator) < 0.5).float() * -2 + 1
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = window * mirror, window, shift
    return _sampled(as_batch(pixels), theta, size), _sampled(targets, theta, cells)


def _sampled(values: Tensor, theta: Tensor, side: int) -> Tensor:
    grid = F.affine_grid(theta, [len(values), 1, side, side], align_corners=False)
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)


def coloured(batch: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and balance of the channels, and in some one rectangle erased."""
    count, size = len(batch), batch.shape[-1]
    gain = torch.empty(count, 3, 1, 1).uniform_(1 - recipe.colour / 2, 1 + recipe.colour / 2, generator=generator)
    contrast, saturation, brightness = (
        torch.empty(count, 1, 1, 1).uniform_(1 - recipe.colour, 1 + recipe.colour, generator=generator)
        for _ in range(3)
    )
    grey = batch.mean(1, keepdim=True)
    batch = grey + (batch - grey) * saturation
    middle = batch.mean((1, 2, 3), keepdim=True)
    batch = ((batch - middle) * contrast + middle * brightness) * gain
    for i in torch.nonzero(torch.rand(count, generator=generator) < recipe.erase).flatten().tolist():
        h, w = (int(torch.randint(size // 8, size // 3, (), generator=generator)) for _ in range(2))
        y, x = (int(torch.randint(size - n, (), generator=generator)) for n in (h, w))
        batch[i, :, y : y + h, x : x + w] = torch.rand(3, 1, 1, generator=generator)
    return batch.clamp_(0, 1)


def mixed(batch: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    """Pastes a box of whole cells of another picture into each, and what the teacher saw there with it.

    CutMix (Yun et al. 2019) over feature maps. Returns pixels, targets, `(N,)` which picture was pasted, and the
    share of the first picture that is left.
    """
    cells, stride = targets.shape[-1], batch.shape[-1] // targets.shape[-1]
    other = torch.randperm(len(batch), generator=generator)
    h, w = (int(torch.randint(1, max(2, cells), (), generator=generator)) for _ in range(2))
    y, x = (int(torch.randint(cells - n + 1, (), generator=generator)) for n in (h, w))
    box = (slice(None), slice(None), slice(y * stride, (y + h) * stride), slice(x * stride, (x + w) * stride))
    part = (slice(None), slice(None), slice(y, y + h), slice(x, x + w))
    batch[box], targets[part] = batch[other][box], targets[other][part]
    return batch, targets, other, 1 - h * w / cells**2
