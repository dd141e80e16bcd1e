"""Random crops (views) of every picture, drawn once and kept on disk; batches of them with targets and labels."""

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
from handful.training.pretrain.recipe import PretrainRecipe
from handful.training.pretrain.teacher import project_targets
from PIL import Image
from torch import Tensor

log = logging.getLogger(__name__)


def crop_box(
    width: int, height: int, generator: np.random.Generator, min_scale: float
) -> tuple[float, float, float, float]:
    """A random box (left, top, right, bottom) of at least `min_scale` of the area, aspect ratio between 3:4 and 4:3."""
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


def write_views(pictures: Pictures, views: int, min_scale: float, recipe: PretrainRecipe, path: Path) -> np.ndarray:
    """All views as one memory-mapped `(pictures * views, V, V, 3)` uint8 array."""
    side = recipe.view_pixels

    def draw(index: int) -> Iterator[Image.Image]:
        image = pictures[index]
        for view in range(views):
            box = crop_box(*image.size, np.random.default_rng([recipe.seed, index, view]), min_scale)
            yield image.resize((side, side), Image.Resampling.BICUBIC, box=box)

    return write_once(path, (len(pictures), views, side), draw)


def write_once(path: Path, shape: tuple[int, int, int], draw: Callable[[int], Iterable[Image.Image]]) -> np.ndarray:
    """Calls `draw` with every picture's number and stores the views; `shape` is (N, views, V).

    Returns one memory-mapped `(N * views, V, V, 3)` uint8 array. An existing file is only opened.
    """
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


class Views(NamedTuple):
    """The stored views of one file, the teacher's embedding of each, and the label of each."""

    pixels: np.ndarray  # (M, V, V, 3) uint8
    targets: np.ndarray | None  # (M, D) float16
    labels: np.ndarray  # (M,) int64, -1 where unknown
    pictures: np.ndarray  # (M,) int64, the number of each view's picture in its file

    @property
    def of_teacher(self) -> np.ndarray:
        """`targets`; raises `ValueError` where they were drawn without a teacher."""
        if self.targets is None:
            raise ValueError("these views were drawn without a teacher")
        return self.targets


class Batches:
    """Draws batches over several files. Every fiftieth picture is held out: never drawn, only measured on."""

    def __init__(self, files: list[Views], recipe: PretrainRecipe, basis: tuple[np.ndarray, np.ndarray] | None) -> None:
        self.files, self.recipe, self.basis = files, recipe, basis
        rows = [
            np.stack([np.full(len(f.labels), n), np.arange(len(f.labels)), f.pictures], 1) for n, f in enumerate(files)
        ]
        index = np.concatenate(rows)  # (M, 3): file, view, picture
        held_out = index[:, 2] % 50 == 0
        self.train, self.held_out = index[~held_out, :2], index[held_out, :2]

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
        return pixels, torch.from_numpy(project_targets(raw, self.basis)), labels
