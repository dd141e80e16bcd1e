"""Resizing, cropping and normalising as part of a network: what `Preprocessing` does with Pillow, from whole images.

A filter is two products of matrices, across and then down, whose weights follow from the image's size. ONNX has an
operator for it, `Resize`, but OpenVINO reads it without its `antialias`, and ONNX Runtime took five times as long on a
photo of 12 megapixels. Pillow rounds to whole numbers after each of the two, and so does this.
"""

from __future__ import annotations

from typing import cast

import torch
from handful.service.artifact.errors import UsageError
from handful.service.artifact.preprocessing import FAR_ENDS, Preprocessing
from torch import Tensor, nn

FILTERS = ("bilinear", "bicubic")
_SHARPNESS = -0.5  # of Pillow's bicubic filter; others take -0.75
Size = int | torch.SymInt  # a symbol while the graph is written: nothing may depend on its value


class Resizing(nn.Module):
    """`(N, H, W, 3)` uint8, upright RGB -> `(N, 3, S, S)` float32, as `Preprocessing.__call__` gives it.

    `UsageError` for a filter that is not in `FILTERS`.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        if preprocessing.interpolation not in FILTERS:
            raise UsageError(
                f"The network's photos are resized with the filter {preprocessing.interpolation!r}; only networks with"
                f" {' or '.join(FILTERS)} can be exported."
            )
        self.side, self.short = preprocessing.side_pixels, preprocessing.short_side
        self.squash, self.cubic = preprocessing.crop_mode == "squash", preprocessing.interpolation == "bicubic"
        for name, numbers in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            self.register_buffer(name, torch.tensor(numbers).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[1], images.shape[2]
        shortest = torch.sym_min(width, height)
        across, narrower = self._weights(width, shortest)
        down, lower = self._weights(height, shortest)
        # Pillow goes down first where that leaves less to compute. ONNX has `If`, but OpenVINO's gave wrong numbers
        # (2026.4): so both ways are computed, the other one for a single row or column.
        down_first = torch.sym_min(1, torch.sym_max(0, lower - 2 * torch.sym_max(0, narrower)))
        rows, columns = 1 + (height - 1) * (1 - down_first), 1 + (width - 1) * down_first
        images = images.permute(0, 3, 1, 2)
        one = _rounded(_first(down, 1, rows) @ _rounded(_first(images, 2, rows).float() @ across.T))
        other = _rounded(_rounded(down @ _first(images, 3, columns).float()) @ _first(across, 1, columns).T)
        pixels = cast("Tensor", one * (1 - down_first) + other * down_first)
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        return (pixels / 255 - mean) / std

    def _weights(self, length: Size, shortest: Size) -> tuple[Tensor, Size]:
        """(S, length): of each pixel along one side, for each pixel that the network sees; and by how much it shrinks.

        The latter counts the pixels that resizing takes away.
        """
        left: Size = 0
        if not self.squash:  # the far ends of a long strip are not used
            left = torch.sym_max(0, (length - FAR_ENDS * shortest) // 2)
        kept = length - 2 * left
        resized = self.short if self.squash else self.short * kept // shortest
        index = torch.arange(self.side)[:, None] + _half(resized - self.side)
        place = torch.arange(length)[None, :] - left
        # the distance of their centres, in filter widths: whole numbers until the last step, so that it is exact
        distance = cast("Tensor", 2 * resized * place - ((2 * index + 1) * kept - resized))
        weights = self._filter(cast("Tensor", distance.abs().float() / (2 * torch.sym_max(kept, resized))))
        weights = torch.where((place >= 0) & (place < kept), weights, 0.0)
        return weights / weights.sum(dim=1, keepdim=True), kept - resized

    def _filter(self, x: Tensor) -> Tensor:
        if not self.cubic:
            return (1 - x).clamp(min=0)
        near = ((_SHARPNESS + 2) * x - (_SHARPNESS + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * _SHARPNESS
        return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _first(values: Tensor, dimension: int, count: Size) -> Tensor:
    return values.index_select(dimension, torch.arange(count))


def _half(number: Size) -> Size:
    """Rounded to the even one, as Python's `round` does, which `Preprocessing` crops with."""
    half = number // 2
    return half + (number % 2) * (half % 2)


def _rounded(pixels: Tensor) -> Tensor:
    return (pixels + 0.5).floor().clamp(0, 255)
