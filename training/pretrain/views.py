"""Random crops of every picture, drawn once and kept; what a batch of them looks like to the student."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.pretrain.pictures import Pictures
from training.pretrain.recipe import Recipe

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
    if path.exists():
        return np.asarray(np.lib.format.open_memmap(path, "r"))
    part = path.with_suffix(".part.npy")
    out = np.lib.format.open_memmap(part, "w+", np.uint8, (len(pictures) * views, side, side, 3))

    def draw(index: int) -> None:
        image = pictures[index]
        for view in range(views):
            generator = np.random.default_rng([recipe.seed, index, view])
            box = crop_box(*image.size, generator, min_scale)
            out[index * views + view] = np.asarray(image.resize((side, side), 3, box=box))

    with ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(draw, range(len(pictures))), 1):
            if done % 10000 == 0:
                log.info("views: %d of %d pictures", done, len(pictures))
    out.flush()
    part.rename(path)
    return np.asarray(np.lib.format.open_memmap(path, "r"))


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """`(N, S, S, 3)` uint8 -> `(N, 3, S, S)` float32, channels last."""
    batch = pixels.permute(0, 3, 1, 2).float().div_(255)
    return batch.sub_(mean[:, None, None]).div_(std[:, None, None])


class Views(NamedTuple):
    """One file's stored views, what the teacher says of them, and the label of each picture."""

    pixels: np.ndarray  # (M, V, V, 3) uint8
    targets: np.ndarray | None  # (M, D) float16
    labels: np.ndarray  # (M,) int64, -1 where unknown
    per_picture: int  # views, one after the other


class Batches:
    """Draws batches over several files; one picture in fifty is never drawn, only measured on."""

    def __init__(self, files: list[Views], recipe: Recipe, basis: tuple[np.ndarray, np.ndarray] | None) -> None:
        self.files, self.recipe, self.basis = files, recipe, basis
        rows = [
            np.stack(
                [np.full(len(f.labels), n), np.arange(len(f.labels)), np.arange(len(f.labels)) // f.per_picture], 1
            )
            for n, f in enumerate(files)
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
        raw = np.stack([self.files[f].targets[i] for f, i in index]).astype(np.float32)
        mean, directions = self.basis
        return pixels, F.normalize(torch.from_numpy((raw - mean) @ directions)), labels


def augmented(pixels: Tensor, size: int, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """`(N, V, V, 3)` uint8 views -> `(N, 3, size, size)` in [0, 1], for the student alone."""
    batch = pixels.permute(0, 3, 1, 2).float().div_(255)
    side = batch.shape[-1]
    window = round(side * float(torch.empty(()).uniform_(0.86, 1.0, generator=generator)))
    top, left = (int(torch.randint(side - window + 1, (), generator=generator)) for _ in range(2))
    batch = batch[:, :, top : top + window, left : left + window]
    batch = F.interpolate(batch, size=(size, size), mode="bilinear", antialias=True)
    flip = torch.rand(len(batch), generator=generator) < 0.5
    batch[flip] = batch[flip].flip(-1)
    gain = torch.empty(len(batch), 3, 1, 1).uniform_(1 - recipe.colour / 2, 1 + recipe.colour / 2, generator=generator)
    contrast, saturation, brightness = (
        torch.empty(len(batch), 1, 1, 1).uniform_(1 - recipe.colour, 1 + recipe.colour, generator=generator)
        for _ in range(3)
    )
    grey = batch.mean(1, keepdim=True)
    batch = grey + (batch - grey) * saturation
    middle = batch.mean((1, 2, 3), keepdim=True)
    batch = ((batch - middle) * contrast + middle * brightness) * gain
    if recipe.sharpness:
        by = torch.empty(len(batch), 1, 1, 1).uniform_(-recipe.sharpness, recipe.sharpness, generator=generator)
        batch = batch + by * (batch - F.avg_pool2d(F.pad(batch, (1, 1, 1, 1), mode="replicate"), 3, 1))
    for i in torch.nonzero(torch.rand(len(batch), generator=generator) < recipe.erase).flatten().tolist():
        h, w = (int(torch.randint(size // 8, size // 3, (), generator=generator)) for _ in range(2))
        y, x = (int(torch.randint(size - n, (), generator=generator)) for n in (h, w))
        batch[i, :, y : y + h, x : x + w] = torch.rand(3, 1, 1, generator=generator)
    return batch.clamp_(0, 1)
