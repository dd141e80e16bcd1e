"""Crops and colour changes of the benchmarks' photos: as many as a person labels at a stretch, each truly labelled."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from handful.service.artifact.image_files import images
from handful.service.artifact.images import read_image
from PIL import Image, ImageEnhance

from benchmarks import photos
from benchmarks.bench import CACHE, Bench

SIDE = 320  # pixels of the longer side at most
SMALLEST = 0.55  # of a photo's sides that a crop keeps
CHANGE = 0.35  # of brightness, contrast and saturation


def variants(bench: Bench, count: int) -> Path:
    """A labelled folder of `count` pictures made of the benchmarks' photos, the same on every machine."""
    folder = CACHE / f"variants-{photos.source(bench).name}-{count}"
    done = folder / ".done"
    if done.exists():
        return folder
    originals = sorted(images(photos.source(bench)))
    each = math.ceil(count / len(originals))
    made = [(original, number) for number in range(each) for original in originals][:count]
    for original, number in made:
        target = folder / original.parent.name / f"{original.stem}-{number:02}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        changed(read_image(original), np.random.default_rng([number, *target.name.encode()])).save(target, quality=90)
    done.touch()
    return folder


def changed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A random crop, perhaps mirrored, in other colours."""
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    sides = [max(8, round(side * random.uniform(SMALLEST, 1))) for side in image.size]
    left, top = (int(random.integers(0, full - kept + 1)) for full, kept in zip(image.size, sides, strict=True))
    image = image.crop((left, top, left + sides[0], top + sides[1]))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(random.uniform(1 - CHANGE, 1 + CHANGE))
    return image
