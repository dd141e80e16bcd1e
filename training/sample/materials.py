"""Materials: one or two colours, a pattern, and how the surface reflects light.

Handbags, shoes and everything around them are made of the same materials, so that neither colour
nor pattern reveals the label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array: TypeAlias = NDArray[np.float32]
Colour: TypeAlias = tuple[float, float, float]

# sRGB in [0, 1]: leathers, fabrics and brights
PALETTE: tuple[Colour, ...] = (
    (0.10, 0.10, 0.11), (0.24, 0.15, 0.10), (0.45, 0.27, 0.15), (0.67, 0.45, 0.27), (0.82, 0.70, 0.54),
    (0.93, 0.90, 0.85), (0.55, 0.55, 0.57), (0.13, 0.19, 0.36), (0.25, 0.42, 0.66), (0.20, 0.42, 0.38),
    (0.39, 0.45, 0.24), (0.62, 0.12, 0.15), (0.83, 0.26, 0.20), (0.90, 0.58, 0.17), (0.88, 0.60, 0.64),
    (0.46, 0.26, 0.46), (0.75, 0.80, 0.82),
)  # fmt: skip
METALS: tuple[Colour, ...] = ((0.78, 0.63, 0.33), (0.72, 0.73, 0.76), (0.32, 0.31, 0.32), (0.72, 0.48, 0.38))


def resized(plane: Array, shape: tuple[int, int], how: Image.Resampling) -> Array:
    return np.asarray(Image.fromarray(plane, "F").resize(shape[::-1], how), np.float32)


def to_unit_range(picture: Image.Image) -> Array:
    """An 8-bit picture as float32 in [0, 1]: (H, W) for a mask, (H, W, C) for colours."""
    return np.asarray(np.asarray(picture, np.float32) / 255, np.float32)


def clouds(shape: tuple[int, ...], cell: float, rng: np.random.Generator, stretch: float = 1.0) -> Array:
    """Smooth noise in about [-1, 1] whose blobs are `cell` pixels high and `stretch` times as wide."""
    rows, columns = max(2, round(shape[0] / cell) + 1), max(2, round(shape[1] / (cell * stretch)) + 1)
    coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return resized(coarse, (shape[0], shape[1]), Image.Resampling.BICUBIC)


def tinted(colour: Colour, rng: np.random.Generator, spread: float = 0.06) -> Colour:
    red, green, blue = np.clip(np.asarray(colour) + rng.normal(0, spread, 3), 0.03, 0.97)
    return float(red), float(green), float(blue)


def random_colour(rng: np.random.Generator) -> Colour:
    return tinted(PALETTE[rng.integers(len(PALETTE))], rng)


def _edge(wave: Array) -> Array:
    """A wave turned into bands with soft borders, in [0, 1]."""
    return np.asarray(np.clip(wave * 4 + 0.5, 0, 1), np.float32)


# A pattern maps coordinates, in periods, to the share of the second colour and the height, in periods.
def _plain(u: Array, v: Array) -> tuple[Array, Array]:
    return np.zeros_like(u), np.zeros_like(v)


def _stripes(u: Array, v: Array) -> tuple[Array, Array]:
    return _edge(np.sin(2 * np.pi * u)), np.zeros_like(v)


def _dots(u: Array, v: Array) -> tuple[Array, Array]:
    return _edge(np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v) - 0.8), np.zeros_like(u)


def _check(u: Array, v: Array) -> tuple[Array, Array]:
    both = _edge(np.sin(2 * np.pi * u)) + _edge(np.sin(2 * np.pi * v))
    return np.asarray(both / 2, np.float32), np.zeros_like(u)


def _quilt(u: Array, v: Array) -> tuple[Array, Array]:
    pillow = np.sqrt(np.abs(np.sin(np.pi * u) * np.sin(np.pi * v)))
    return np.asarray(0.25 * (pillow < 0.25), np.float32), np.asarray(0.5 * pillow, np.float32)


def _weave(u: Array, v: Array) -> tuple[Array, Array]:
    over = np.asarray(np.sin(2 * np.pi * u) * np.sin(2 * np.pi * v), np.float32)
    return 0.3 + 0.3 * over, 0.25 * over


PATTERNS: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "plain": _plain,
    "stripes": _stripes,
    "dots": _dots,
    "check": _check,
    "quilt": _quilt,
    "weave": _weave,
}


@dataclass(frozen=True)
class Material:
    """How one part looks. Lengths are shares of the drawing's side; the other numbers are in [0, 1]."""

    colour: Colour
    second: Colour
    pattern: str = "plain"
    period: float = 0.06
    angle: float = 0.0  # radians
    grain: float = 0.03  # strength of the fine noise in the colour
    gloss: float = 0.2
    wrinkle: float = 0.0
    depth: float = 0.0  # height of the grain

    def surface(
        self, shape: tuple[int, ...], corner: tuple[int, int], side: int, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Colour (H, W, 3) in [0, 1] and height (H, W), in shares of the side, of the piece at `corner`."""
        y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        x, y = (x + corner[0]) / (self.period * side), (y + corner[1]) / (self.period * side)
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        share, height = PATTERNS[self.pattern](x * cosine + y * sine, y * cosine - x * sine)
        pores = clouds(shape, max(1.5, 0.006 * side), rng)
        colour, second = np.asarray(self.colour, np.float32), np.asarray(self.second, np.float32)
        albedo = colour + share[..., None] * (second - colour)
        return albedo * (1 + self.grain * pores)[..., None], height * self.period + self.depth * pores


def random_material(rng: np.random.Generator) -> Material:
    """From matt cloth to patent leather; half of them have no pattern."""
    colour = random_colour(rng)
    pattern = "plain" if rng.random() < 0.5 else str(rng.choice(list(PATTERNS)))
    return Material(
        colour,
        random_colour(rng) if pattern != "quilt" else tinted(colour, rng, 0.02),
        pattern,
        period=float(rng.uniform(0.012, 0.02) if pattern == "weave" else rng.uniform(0.035, 0.11)),
        angle=float(rng.choice([0.0, np.pi / 2, np.pi / 4, rng.uniform(0, np.pi)]))
        if pattern != "quilt"
        else np.pi / 4,
        grain=float(rng.uniform(0.02, 0.16)),
        gloss=float(rng.choice([0.05, 0.2, 0.45, 0.8])),
        wrinkle=float(rng.uniform(0, 0.35)),
        depth=float(rng.uniform(0.0002, 0.0015)),
    )


def leather(colour: Colour, rng: np.random.Generator) -> Material:
    return Material(colour, colour, grain=0.08, gloss=float(rng.uniform(0.1, 0.5)), depth=0.0004)


def metal(rng: np.random.Generator) -> Material:
    colour = METALS[rng.integers(len(METALS))]
    return Material(colour, colour, gloss=0.9, grain=0.02)


@dataclass(frozen=True)
class MaterialSet:
    """The materials of one object, drawn from the same distribution for every kind."""

    body: Material
    trim: Material
    base: Material
    lining: Material
    thread: Material
    metal: Material


def random_materials(rng: np.random.Generator) -> MaterialSet:
    body = random_material(rng)
    trim = random_material(rng) if rng.random() < 0.4 else leather(tinted(random_colour(rng), rng), rng)
    shade = body.colour if rng.random() < 0.4 else random_colour(rng)
    thread = leather(random_colour(rng), rng)
    lining = leather((shade[0] * 0.45, shade[1] * 0.45, shade[2] * 0.45), rng)
    return MaterialSet(body, trim, leather(random_colour(rng), rng), lining, thread, metal(rng))
