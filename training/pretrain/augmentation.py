"""uint8 views -> the float tensors that the networks take; random changes for the student alone."""

from __future__ import annotations

import torch
from handful.training.pretrain.recipe import PretrainRecipe
from torch import Tensor
from torch.nn import functional as F


def standardise_pixels(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """`(N, S, S, 3)` uint8 -> `(N, 3, S, S)` float32 with the network's mean and std, channels last."""
    batch = pixels.permute(0, 3, 1, 2).float().div_(255)
    return batch.sub_(mean[:, None, None]).div_(std[:, None, None])


def augment_views(pixels: Tensor, size: int, recipe: PretrainRecipe, generator: torch.Generator) -> Tensor:
    """`(N, V, V, 3)` uint8 views -> `(N, 3, size, size)` in [0, 1]: shift, mirror, colour, sharpness, erasing."""
    side = pixels.shape[1]
    window = round(side * float(torch.empty(()).uniform_(0.86, 1.0, generator=generator)))
    top, left = (int(torch.randint(side - window + 1, (), generator=generator)) for _ in range(2))
    shifted = pixels[:, top : top + window, left : left + window].permute(0, 3, 1, 2)
    small = F.interpolate(shifted, size=(size, size), mode="bilinear", antialias=True)  # uint8: vectorised
    flip = torch.rand(len(small), generator=generator) < 0.5
    small[flip] = small[flip].flip(-1)
    batch = _recolour(small.contiguous().float(), recipe, generator)
    if recipe.sharpness:
        by = torch.empty(len(batch), 1, 1, 1).uniform_(-recipe.sharpness, recipe.sharpness, generator=generator)
        batch = batch + by * (batch - _box_blur(batch))
    for i in torch.nonzero(torch.rand(len(batch), generator=generator) < recipe.erase).flatten().tolist():
        h, w = (int(torch.randint(size // 8, size // 3, (), generator=generator)) for _ in range(2))
        y, x = (int(torch.randint(size - n, (), generator=generator)) for n in (h, w))
        batch[i, :, y : y + h, x : x + w] = torch.rand(3, 1, 1, generator=generator)
    return batch.clamp_(0, 1)


def _recolour(batch: Tensor, recipe: PretrainRecipe, generator: torch.Generator) -> Tensor:
    """`(N, 3, H, W)` in [0, 255] -> about [0, 1].

    Saturation, contrast, brightness and channel gains are combined into one matrix per image.
    """
    count = len(batch)
    gain = torch.empty(count, 3, 1).uniform_(1 - recipe.colour / 2, 1 + recipe.colour / 2, generator=generator)
    contrast, saturation, brightness = (
        torch.empty(count, 1, 1).uniform_(1 - recipe.colour, 1 + recipe.colour, generator=generator) for _ in range(3)
    )
    colours = saturation * torch.eye(3) + (1 - saturation) / 3  # (N, 3, 3), keeps an image's mean
    middle = batch.mean((1, 2, 3))[:, None, None]
    shift = gain * middle * (brightness - contrast) / 255  # (N, 3, 1)
    return torch.baddbmm(shift, gain * contrast * colours / 255, batch.flatten(2)).view_as(batch)


def _box_blur(batch: Tensor) -> Tensor:
    """`(N, C, H, W)`: each pixel becomes the mean of its 3 x 3 neighbourhood.

    Written with slices, because torch's average pooling is not vectorised on CPUs.
    """
    padded = F.pad(batch, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9
