"""Random variations of a training photo: composable transforms, each with the random generator as an argument.

The first transforms work on the decoded photo, a little larger than the network's input. `Crop` cuts out the input,
with the card's interpolation, and the others work on that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from handful.service.artifact.preprocessing import Preprocessing
from numpy.random import Generator
from PIL import Image, ImageFilter

Transform = Callable[[Image.Image, Generator], Image.Image]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's grey
MESH = 6  # quadrilaterals per side that approximate a curved picture


@dataclass(frozen=True)
class Augmentation:
    """All transforms in order: a photo -> an `S x S` picture."""

    transforms: tuple[Transform, ...]

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> Augmentation:
        side, resample = preprocessing.side_pixels, Image.Resampling[preprocessing.interpolation.upper()]
        return cls(
            (
                Flip(),
                Stretch(),
                Rotate(),
                Crop(side, resample),
                Pincushion(),
                Colour(),
                Vignette(),
                Blur(radius_pixels=side / 100),
                Erase(),
            )
        )

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        for transform in self.transforms:
            image = transform(image, random)
        return image


@dataclass(frozen=True)
class Flip:
    chance: float = 0.5

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < self.chance else image


@dataclass(frozen=True)
class Stretch:
    """Makes one side longer and the other shorter, their ratio changing by a factor of up to `most`."""

    most: float = 1.15

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        factor = math.exp(random.uniform(-1, 1) * math.log(self.most) / 2)
        width, height = max(1, round(image.width * factor)), max(1, round(image.height / factor))
        return image.resize((width, height), Image.Resampling.BILINEAR)


@dataclass(frozen=True)
class Rotate:
    """Rotates, then crops to the largest picture of the same shape that has no empty corner."""

    degrees: float = 12.0
    chance: float = 0.7

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        angle = random.uniform(-self.degrees, self.degrees)
        if random.random() >= self.chance:
            return image
        width, height = image.size
        sine, cosine = abs(math.sin(math.radians(angle))), math.cos(math.radians(angle))
        kept = min(width / (width * cosine + height * sine), height / (width * sine + height * cosine))
        left, top = width * (1 - kept) / 2, height * (1 - kept) / 2
        box = (math.ceil(left), math.ceil(top), math.floor(width - left), math.floor(height - top))
        if min(box[2] - box[0], box[3] - box[1]) < 1:
            return image
        return image.rotate(angle, Image.Resampling.BILINEAR).crop(box)


@dataclass(frozen=True)
class Crop:
    """A square with at least `least_area` of the largest one's area, anywhere, resized to the input's side."""

    side_pixels: int
    resample: Image.Resampling
    least_area: float = 0.55

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        side = min(image.size) * math.sqrt(random.uniform(self.least_area, 1))
        left, top = (random.uniform(0, length - side) for length in image.size)
        box = (left, top, left + side, top + side)
        return image.resize((self.side_pixels, self.side_pixels), self.resample, box=box)


@dataclass(frozen=True)
class Pincushion:
    """Pincushion or barrel distortion of a lens; what would lie outside the picture is cut off."""

    most: float = 0.15
    chance: float = 0.25

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        strength = random.uniform(-self.most, self.most)
        if random.random() >= self.chance:
            return image
        lines = np.linspace(-1, 1, min(MESH, *image.size) + 1)
        x, y = np.meshgrid(lines, lines)  # (M, M) in [-1, 1]
        inside = 1 + (2 if strength > 0 else 1) * strength  # the corners stay, or the middles of the sides
        factor = (1 + strength * (x**2 + y**2)) / inside
        to, source = np.stack([x, y], -1), np.stack([x * factor, y * factor], -1)
        half = np.array(image.size) / 2
        to, source = (to + 1) * half, (source + 1) * half
        return image.transform(image.size, Image.Transform.MESH, _mesh(to, source), Image.Resampling.BILINEAR)


def _mesh(to: np.ndarray, source: np.ndarray) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Grids (M, M, 2) in Pillow's form: the box of each cell, and the four source corners that are drawn into it."""
    to = to.round().astype(int)
    return [
        (
            (*map(int, to[row, column]), *map(int, to[row + 1, column + 1])),
            tuple(map(float, source[[row, row + 1, row + 1, row], [column, column, column + 1, column + 1]].ravel())),
        )
        for row in range(len(to) - 1)
        for column in range(len(to) - 1)
    ]


@dataclass(frozen=True)
class Colour:
    """Changes brightness, contrast, saturation and colour balance, as another light or camera would."""

    most: float = 0.25
    balance: float = 0.12
    chance: float = 0.8

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        brightness, contrast, saturation = random.uniform(1 - self.most, 1 + self.most, 3)
        balance = random.uniform(1 - self.balance, 1 + self.balance, 3)
        if random.random() >= self.chance:
            return image
        pixels = np.asarray(image, dtype=np.float32)  # (S, S, 3) in [0, 255]
        grey = pixels @ LUMA  # (S, S)
        middle = grey.mean()
        coloured = grey[..., None] + np.float32(saturation) * (pixels - grey[..., None])
        lit = (middle + np.float32(contrast) * (coloured - middle)) * np.float32(brightness)
        return _picture(lit * balance.astype(np.float32))


@dataclass(frozen=True)
class Vignette:
    """Darkens the corners by up to `most`."""

    most: float = 0.6
    chance: float = 0.15

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        strength = random.uniform(0, self.most)
        if random.random() >= self.chance:
            return image
        x, y = (np.linspace(-1, 1, length, dtype=np.float32) for length in image.size)
        light = 1 - np.float32(strength) * (x[None, :] ** 2 + y[:, None] ** 2) / 2  # (S, S)
        return _picture(np.asarray(image, dtype=np.float32) * light[..., None])


@dataclass(frozen=True)
class Blur:
    """Gaussian blur of up to `radius_pixels`, as out of focus."""

    radius_pixels: float
    chance: float = 0.15

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        radius = random.uniform(0.3, 1) * self.radius_pixels
        return image.filter(ImageFilter.GaussianBlur(radius)) if random.random() < self.chance else image


@dataclass(frozen=True)
class Erase:
    """Covers one rectangle of up to `most_area` with one colour, as an object in front (Zhong et al. 2017)."""

    most_area: float = 0.2
    chance: float = 0.25

    def __call__(self, image: Image.Image, random: Generator) -> Image.Image:
        area, ratio = random.uniform(0.02, self.most_area), math.exp(random.uniform(-0.7, 0.7))
        colour, place = random.integers(0, 256, 3), random.random(2)
        if random.random() >= self.chance:
            return image
        width, height = (
            min(length, max(1, round(length * math.sqrt(area * factor))))
            for length, factor in zip(image.size, (ratio, 1 / ratio), strict=True)
        )
        left, top = round(place[0] * (image.width - width)), round(place[1] * (image.height - height))
        erased = image.copy()
        erased.paste(tuple(map(int, colour)), (left, top, left + width, top + height))
        return erased


def _picture(pixels: np.ndarray) -> Image.Image:
    """(S, S, 3) float -> a picture, clipped to [0, 255]."""
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
