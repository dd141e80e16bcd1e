"""Drawing with depth: outlines filled with a material, shaded as if padded, on a transparent square.

Coordinates are shares of the square's side, x to the right and y down. Every part is rasterised
at `SUPERSAMPLING` times its size and then shaded like a cushion: its blurred mask is a height map,
the slope of the height gives the surface normal, and the normal gives the reflected light. That is
cheap, and realistic enough for a pretrained network to recognise the materials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from handful.training.sample.materials import Array, Material, clouds, resized, to_unit_range
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points: TypeAlias = Sequence[tuple[float, float]] | NDArray[np.float64]
SUPERSAMPLING = 3


@dataclass(frozen=True)
class Light:
    """`direction` is a unit vector towards the lamp; `ambient` in [0, 1] is the light on the shadow side."""

    direction: tuple[float, float, float]
    ambient: float


def smooth(points: Points, *, closed: bool = True) -> NDArray[np.float64]:
    """Chaikin's corner cutting (1974): the curve stays inside its outline; a point given twice stays sharp."""
    path = np.asarray(points, np.float64)  # (N, 2)
    for _ in range(4):
        following = np.roll(path, -1, axis=0)
        cut = np.stack([0.75 * path + 0.25 * following, 0.25 * path + 0.75 * following], axis=1).reshape(-1, 2)
        path = cut if closed else np.concatenate([path[:1], cut[:-2], path[-1:]])
    return path


def blurred(plane: Array, radius: float) -> Array:
    """An approximate Gaussian blur in float32: with 8 bits the slope would show steps."""
    height, width = plane.shape
    step = max(radius, 1.0)
    small = resized(plane, (max(2, round(height / step)), max(2, round(width / step))), Image.Resampling.BOX)
    for _ in range(2):  # along the columns, transposed, then along the former rows
        padded = np.zeros((small.shape[0] + 4, small.shape[1]), np.float32)
        padded[2:-2] = small
        outer, inner = padded[:-4] + padded[4:], padded[1:-3] + padded[3:-1]
        mixed = outer / 16 + inner / 4 + padded[2:-2] * 0.375  # binomial: 1 4 6 4 1
        small = np.ascontiguousarray(mixed.T, np.float32)
    return resized(small, (height, width), Image.Resampling.BICUBIC)


class Sketch:
    """A transparent square on which parts are drawn one over the other."""

    def __init__(self, side: int, light: Light, rng: np.random.Generator) -> None:
        self.side, self.light, self.rng = side, light, rng
        self.colour: Array = np.zeros((side, side, 3), np.float32)  # in [0, 1]
        self.alpha: Array = np.zeros((side, side), np.float32)  # in [0, 1]

    def panel(self, outline: Points, material: Material, puff: float = 0.05, clip: Points | None = None) -> None:
        """A filled outline; `puff` is the width of its rounded edge, `clip` an outline that it is cut off at."""
        box = self._box(np.asarray(outline), puff)
        mask = self._filled(outline, box)
        self._lay(mask if clip is None else mask * self._filled(clip, box), box, material, puff)

    def strap(self, path: Points, width: float, material: Material) -> None:
        points = np.asarray(path)
        box = self._box(points, width)
        self._lay(self._stroked([points], width, box), box, material, width / 3)

    def ring(self, centre: tuple[float, float], radii: tuple[float, float], width: float, material: Material) -> None:
        turn = np.linspace(0, 2 * np.pi, 40)
        points = np.stack([centre[0] + radii[0] * np.cos(turn), centre[1] + radii[1] * np.sin(turn)], axis=1)
        self.strap(points, width, material)

    def disc(self, centre: tuple[float, float], radius: float, material: Material) -> None:
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        points = np.stack([centre[0] + radius * np.cos(turn), centre[1] + radius * np.sin(turn)], axis=1)
        self.panel(points, material, radius / 2)

    def buckle(self, centre: tuple[float, float], size: float, material: Material) -> None:
        x, y = centre
        a, b = size, size * 0.75
        self.strap(
            [(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b), (x - a, y - b)], size / 2.5, material
        )
        self.strap([(x, y - b), (x, y + b)], size / 4, material)

    def stitches(self, path: Points, material: Material, length: float = 0.012) -> None:
        """Dashes along a path, each as long as the gap after it."""
        points = np.asarray(path, np.float64)
        run = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        starts = np.arange(0.0, run[-1] - length, 2 * length)
        ends = [[np.interp(at, run, points[:, axis]) for axis in (0, 1)] for at in (*starts, *(starts + length))]
        pairs = np.asarray(ends).reshape(2, -1, 2).swapaxes(0, 1)  # (N, 2 ends, 2)
        box = self._box(points, 0.01)
        self._lay(self._stroked(list(pairs), 0.006, box), box, material, 0.003)

    def image(self) -> Image.Image:
        """The drawing as RGBA, cropped to its bounds."""
        stacked = np.dstack([self.colour, self.alpha]).clip(0, 1)
        picture = Image.fromarray((stacked * 255 + 0.5).astype(np.uint8), "RGBA")
        return picture.crop(picture.getchannel("A").getbbox())

    def _box(self, points: NDArray[np.float64], margin: float) -> tuple[int, int, int, int]:
        low = np.floor((points.min(axis=0) - margin) * self.side).astype(int) - 3
        high = np.ceil((points.max(axis=0) + margin) * self.side).astype(int) + 3
        left, top = np.clip(low, 0, self.side - 8)
        right, bottom = np.clip(high, (left + 8, top + 8), self.side)
        return int(left), int(top), int(right), int(bottom)

    def _filled(self, outline: Points, box: tuple[int, int, int, int]) -> Array:
        sheet = Image.new("L", ((box[2] - box[0]) * SUPERSAMPLING, (box[3] - box[1]) * SUPERSAMPLING))
        ImageDraw.Draw(sheet).polygon(self._enlarged(np.asarray(outline), box), fill=255)
        return to_unit_range(sheet.reduce(SUPERSAMPLING))

    def _stroked(self, paths: Sequence[NDArray[np.float64]], width: float, box: tuple[int, int, int, int]) -> Array:
        sheet = Image.new("L", ((box[2] - box[0]) * SUPERSAMPLING, (box[3] - box[1]) * SUPERSAMPLING))
        pen, pixels = ImageDraw.Draw(sheet), max(2, round(width * self.side * SUPERSAMPLING))
        for path in paths:
            pen.line(self._enlarged(path, box), fill=255, width=pixels, joint="curve")
        return to_unit_range(sheet.reduce(SUPERSAMPLING))

    def _enlarged(self, points: NDArray[np.float64], box: tuple[int, int, int, int]) -> list[tuple[float, float]]:
        moved = (points * self.side - np.asarray(box[:2])) * SUPERSAMPLING
        return [(float(x), float(y)) for x, y in moved]

    def _lay(self, mask: Array, box: tuple[int, int, int, int], material: Material, puff: float) -> None:
        """Darkens the drawing around the part (contact shadow), then draws the part over it."""
        left, top, right, bottom = box
        colour, alpha = self.colour[top:bottom, left:right], self.alpha[top:bottom, left:right]
        colour *= 1 - 0.4 * blurred(mask, 0.012 * self.side)[..., None]
        lit = self._lit(mask, box, material, puff)
        colour += mask[..., None] * (lit - colour)
        alpha += mask * (1 - alpha)

    def _lit(self, mask: Array, box: tuple[int, int, int, int], material: Material, puff: float) -> Array:
        albedo, bump = material.surface(mask.shape, box[:2], self.side, self.rng)
        radius = max(1.5, puff * self.side)
        cushion = blurred(mask, radius)
        creases = material.wrinkle * clouds(mask.shape, max(4.0, 0.09 * self.side), self.rng)
        height = (1.7 * cushion + creases) * radius + bump * self.side
        slope_y, slope_x = np.gradient(height)
        facing = 1 / np.sqrt(slope_x**2 + slope_y**2 + 1)
        x, y, z = self.light.direction
        towards = np.clip((z - x * slope_x - y * slope_y) * facing, 0, 1)
        shine = material.gloss * towards ** (4 + 28 * material.gloss)
        shade = self.light.ambient + (1.1 - self.light.ambient) * towards
        rim = 0.72 + 0.28 * np.clip(blurred(mask, 1.5) * 2 - 1, 0, 1)
        return np.asarray(albedo * (shade * rim)[..., None] + shine[..., None] * 0.6, np.float32)
