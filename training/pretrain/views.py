"""Random crops of every picture, drawn once and kept, and batches of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

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


def as_batch(pixels: Tensor) -> Tensor:
    """`(N, S, S, 3)` uint8 -> `(N, 3, S, S)` float32 in [0, 1], channels last."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def normalised(
    batch: Tensor, mean: Sequence[float] = IMAGENET_DEFAULT_MEAN, std: Sequence[float] = IMAGENET_DEFAULT_STD
) -> Tensor:
    """`(N, 3, S, S)` in [0, 1], changed in place."""
    middle, spread = (batch.new_tensor(v)[:, None, None] for v in (mean, std))
    return batch.sub_(middle).div_(spread)


class Views(NamedTuple):
    """One file's stored views, what the teacher sees in each, and the label of each picture."""

    name: str
    pixels: np.ndarray  # (M, V, V, 3) uint8
    targets: np.ndarray | None  # (M, h, w, dims) float16
    labels: np.ndarray  # (M,) int64, -1 where unknown


class Batches:
    """Draws batches over several files; one picture in fifty is never drawn, only measured on."""

    def __init__(self, files: list[Views], recipe: Recipe) -> None:
        self.files, self.recipe = files, recipe
        rows = [
            np.stack([np.full(len(f.labels), n), np.arange(len(f.labels)), np.arange(len(f.labels)) // views], 1)
            for n, (f, views) in enumerate(zip(files, recipe.views, strict=True))
        ]
        index = np.concatenate(rows)  # (M, 3): file, view, picture
        measured = index[:, 2] % 50 == 0
        self.train, self.held_out = index[~measured, :2], index[measured, :2]

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        order = np.random.default_rng([self.recipe.seed, number]).permutation(len(self.train))
        size = self.recipe.batch
        for start in range(0, len(order) - size + 1, size):
            yield self.train[order[start : start + size]]

    def read(self, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """`(B, V, V, 3)` uint8 pixels, `(B, dims, h, w)` float32 targets (zeros without a teacher), labels."""
        pixels = torch.from_numpy(np.stack([self.files[f].pixels[i] for f, i in index]))
        labels = torch.from_numpy(np.array([self.files[f].labels[i] for f, i in index]))
        raw = [targets[i] for f, i in index if (targets := self.files[f].targets) is not None]
        targets = torch.from_numpy(np.stack(raw).astype(np.float32)) if raw else torch.zeros(len(index), 1, 1, 1)
        return pixels, targets.permute(0, 3, 1, 2), labels
