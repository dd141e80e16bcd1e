"""The photos of the benchmarks: generated ones, or a given labelled folder."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from handful.service.compute.device import cpu_count
from PIL import Image

from benchmarks.bench import CACHE, Bench

TRAIN, TEST = 80, 40  # photos per label


def source(bench: Bench) -> Path:
    """A labelled folder: the one given, or 120 generated handbags and 120 shoes, the same on every machine."""
    if bench.photos_given:
        return bench.photos_given
    folder = CACHE / "sample"
    if not folder.exists():
        bench.handful("sample", folder, "--per-label", str(TRAIN + TEST))
    return folder


def train_and_test(bench: Bench) -> tuple[Path, Path]:
    """Of each label 80 training photos and 40 test photos, as links to the source."""
    train, test = CACHE / "train", CACHE / "test"
    shutil.rmtree(train, ignore_errors=True)
    shutil.rmtree(test, ignore_errors=True)
    for label in sorted(p for p in source(bench).iterdir() if p.is_dir()):
        files = [p for p in sorted(label.iterdir()) if p.is_file()][: TRAIN + TEST]
        for number, file in enumerate(spread(files)):
            place(file, (train if number < TRAIN else test) / label.name / file.name)
    return train, test


def spread(files: list[Path]) -> list[Path]:
    """Moves every third file to the end, so that both parts come from the whole folder."""
    return [f for n, f in enumerate(files) if n % 3] + files[::3]


def place(file: Path, at: Path) -> None:
    """Makes a hard link, or a copy where links are not possible."""
    at.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), at)
    except OSError:
        shutil.copyfile(file, at)


def many(files: list[Path], images: int, folder: Path) -> Path:
    """A folder of so many images: the given ones, repeated."""
    for number, file in zip(range(images), cycled(files), strict=False):
        place(file, folder / f"{number // 1000:03}" / f"{number:06}{file.suffix}")
    return folder


def cycled(files: list[Path]) -> list[Path]:
    """The files repeated until there are at least 200,000."""
    return [file for _ in range(1 + 200_000 // len(files)) for file in files]


def files_below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def phone_photos(images: int = 8, width: int = 4000, height: int = 3000) -> list[Path]:
    """Generated JPEGs as large as a phone's (12 megapixels, about 4 MB)."""
    folder = CACHE / f"photos-{width}x{height}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(images):
        path = folder / f"{number:02}.jpg"
        paths.append(path)
        if not path.exists():
            _textured(number, width, height).save(path, quality=92)
    return paths


def _textured(seed: int, width: int, height: int) -> Image.Image:
    """Smooth colours with detail at several scales and a little sensor noise."""
    generator = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 110.0, np.float32)
    for scale, strength in zip((4, 16, 64, 256), (70, 40, 22, 10), strict=True):
        coarse = generator.normal(0, strength, (scale, scale, 3)).astype(np.float32)
        layers = [Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        pixels += np.stack([np.asarray(layer) for layer in layers], axis=-1)
    pixels += generator.normal(0, 4, (height, width, 1)).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def tiny_photos(images: int, side: int = 28) -> list[Path]:
    """Generated 28-pixel PNGs, all different."""
    folder = CACHE / f"tiny-{side}"
    folder.mkdir(parents=True, exist_ok=True)
    generator, paths = np.random.default_rng(0), []
    for number in range(images):
        path = folder / f"{number:05}.png"
        pixels = generator.integers(0, 255, (side, side), dtype=np.uint8)
        if not path.exists():
            Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


def different(files: list[Path], images: int, folder: Path, labels: int = 2) -> Path:
    """So many different pictures under so many labels: the given ones, each cropped and compressed differently."""

    def make(number: int) -> None:
        generator = np.random.default_rng(number)
        with Image.open(files[number % len(files)]) as opened:
            opened.draft("RGB", (160, 160))
            image = opened.convert("RGB")
        left, top = (int(generator.integers(0, 1 + n // 8)) for n in image.size)
        right, bottom = (n - int(generator.integers(0, 1 + n // 8)) for n in image.size)
        path = folder / f"label-{number % labels:04}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((left, top, right, bottom)).save(path, quality=80)

    with ThreadPoolExecutor(cpu_count()) as pool:
        list(pool.map(make, range(images)))
    return folder
