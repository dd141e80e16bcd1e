"""Random crops of every picture, drawn once and kept; what a batch of them looks like to the student."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from handful.training.pretrain.pictures import Pictures
from handful.training.pretrain.recipe import Recipe
from handful.training.pretrain.targets import reduced
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

log = logging.getLogger(__name__)


def crop_box(
    width: int, height: int, generator: np.random.Generator, min_scale: float
) -> tuple[float, float, float, float]:
    """A random box of at least `min_scale` of the area, aspect ratio between 3:4 and 4:3."""
    for _ in range(10):
        area = width * height * generator.uniform(min_scale, 1.0)
        ratio = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = generator.uniform(0, width - w), generator.uniform(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def write_views(pictures: Pictures, views: int, min_scale: float, recipe: Recipe, path: Path) -> np.ndarray:
    """All views as one memory-mapped `(pictures * views, V, V, 3)` uint8 array."""
    side = recipe.view_pixels

    def draw(index: int) -> Iterator[Image.Image]:
        image = pictures[index]
        for view in range(views):
            box = crop_box(*image.size, np.random.default_rng([recipe.seed, index, view]), min_scale)
            yield image.resize((side, side), Image.Resampling.BICUBIC, box=box)

    return drawn_once(path, (len(pictures), views, side), draw)


def drawn_once(path: Path, shape: tuple[int, int, int], draw: Callable[[int], Iterable[Image.Image]]) -> np.ndarray:
    """`draw` of every picture's number as one memory-mapped `(N * views, V, V, 3)` uint8; `shape` is (N, views, V)."""
    if path.exists():
        return np.asarray(np.lib.format.open_memmap(path, "r"))
    pictures, views, side = shape
    part = path.with_suffix(".part.npy")
    out = np.lib.format.open_memmap(part, "w+", np.uint8, (pictures * views, side, side, 3))

    def keep(index: int) -> None:
        for view, image in enumerate(draw(index)):
            out[index * views + view] = np.asarray(image)

    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(keep, range(pictures)), 1):
            if done % 10000 == 0:
                log.info("views: %d of %d pictures", done, pictures)
    out.flush()
    part.rename(path)
    return np.asarray(np.lib.format.open_memmap(path, "r"))


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """`(N, S, S, 3)` uint8 -> `(N, 3, S, S)` float32, channels last."""
    batch = pixels.permute(0, 3, 1, 2).float().div_(255)
    return batch.sub_(mean[:, None, None]).div_(std[:, None, None])


class Views(NamedTuple):
    """Stored views of one file, what the teacher says of them, and the label of each."""

    pixels: np.ndarray  # (M, V, V, 3) uint8
    targets: np.ndarray | None  # (M, D) float16
    labels: np.ndarray  # (M,) int64, -1 where unknown
    pictures: np.ndarray  # (M,) int64, the number of each view's picture in its file

    @property
    def of_teacher(self) -> np.ndarray:
        """`targets` where a teacher was asked."""
        if self.targets is None:
            raise ValueError("no teacher was asked of these views")
        return self.targets


class Batches:
    """Draws batches over several files; one picture in fifty is never drawn, only measured on."""

    def __init__(self, files: list[Views], recipe: Recipe, basis: tuple[np.ndarray, np.ndarray] | None) -> None:
        self.files, self.recipe, self.basis = files, recipe, basis
        rows = [
            np.stack([np.full(len(f.labels), n), np.arange(len(f.labels)), f.pictures], 1) for n, f in enumerate(files)
        ]
        index = np.concatenate(rows)  # (M, 3): file, view, picture
        measured = index[:, 2] % 50 == 0
        self.train, self.held_out = index[~measured, :2], index[measured, :2]

    @property
    def per_epoch(self) -> int:
        """Whole batches in one epoch."""
        return int(len(self.train) * self.recipe.share) // self.recipe.batch

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        order = np.random.default_rng([self.recipe.seed, number]).permutation(len(self.train))
        size = self.recipe.batch
        for start in range(0, self.per_epoch * size, size):
            yield self.train[order[start : start + size]]

    def read(self, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """`(B, V, V, 3)` uint8 pixels, `(B, dims)` unit targets, `(B,)` labels."""
        pixels = torch.from_numpy(np.stack([self.files[f].pixels[i] for f, i in index]))
        labels = torch.from_numpy(np.array([self.files[f].labels[i] for f, i in index]))
        if self.basis is None:
            return pixels, torch.zeros(len(index), 1), labels
        raw = np.stack([self.files[f].of_teacher[i] for f, i in index])
        return pixels, torch.from_numpy(reduced(raw, self.basis)), labels


def augmented(pixels: Tensor, size: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """`(N, V, V, 3)` uint8 views -> `(N, 3, size, size)` in [0, 1], for the student alone."""
    side = pixels.shape[1]
    window = round(side * float(torch.empty(()).uniform_(0.86, 1.0, generator=generator)))
    top, left = (int(torch.randint(side - window + 1, (), generator=generator)) for _ in range(2))
    shifted = pixels[:, top : top + window, left : left + window].permute(0, 3, 1, 2)
    small = F.interpolate(shifted, size=(size, size), mode="bilinear", antialias=True)  # uint8: vectorised
    flip = torch.rand(len(small), generator=generator) < 0.5
    small[flip] = small[flip].flip(-1)
    batch = _recoloured(small.contiguous().float(), recipe, generator)
    if recipe.sharpness:
        by = torch.empty(len(batch), 1, 1, 1).uniform_(-recipe.sharpness, recipe.sharpness, generator=generator)
        batch = batch + by * (batch - _blurred(batch))
    for i in torch.nonzero(torch.rand(len(batch), generator=generator) < recipe.erase).flatten().tolist():
        h, w = (int(torch.randint(size // 8, size // 3, (), generator=generator)) for _ in range(2))
        y, x = (int(torch.randint(size - n, (), generator=generator)) for n in (h, w))
        batch[i, :, y : y + h, x : x + w] = torch.rand(3, 1, 1, generator=generator)
    return batch.clamp_(0, 1)


def _recoloured(batch: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """`(N, 3, H, W)` in [0, 255] -> about [0, 1]; saturation, contrast, brightness and gains as one matrix an image."""
    count = len(batch)
    gain = torch.empty(count, 3, 1).uniform_(1 - recipe.colour / 2, 1 + recipe.colour / 2, generator=generator)
    contrast, saturation, brightness = (
        torch.empty(count, 1, 1).uniform_(1 - recipe.colour, 1 + recipe.colour, generator=generator) for _ in range(3)
    )
    colours = saturation * torch.eye(3) + (1 - saturation) / 3  # (N, 3, 3), keeps an image's mean
    middle = batch.mean((1, 2, 3))[:, None, None]
    shift = gain * middle * (brightness - contrast) / 255  # (N, 3, 1)
    return torch.baddbmm(shift, gain * contrast * colours / 255, batch.flatten(2)).view_as(batch)


def _blurred(batch: Tensor) -> Tensor:
    """`(N, C, H, W)`, a pixel the mean of itself and its neighbours; slices, as pooling is not vectorised."""
    padded = F.pad(batch, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9
