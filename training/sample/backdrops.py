"""Backgrounds (shop paper, floors, rooms, cloth, clutter), and small things that lie near the object."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from handful.training.sample.materials import (
    Array,
    Colour,
    clouds,
    leather,
    random_colour,
    random_material,
    tinted,
    to_unit_range,
)
from handful.training.sample.sketch import Sketch, smooth
from PIL import Image, ImageDraw, ImageFilter

Shape: TypeAlias = tuple[int, int]
WOODS: tuple[Colour, ...] = (
    (0.55, 0.38, 0.24),
    (0.72, 0.55, 0.37),
    (0.36, 0.24, 0.16),
    (0.80, 0.70, 0.56),
    (0.50, 0.47, 0.43),
)
WALLS: tuple[Colour, ...] = (
    (0.90, 0.89, 0.86),
    (0.78, 0.80, 0.80),
    (0.84, 0.77, 0.66),
    (0.60, 0.68, 0.70),
    (0.75, 0.62, 0.58),
)


def _filled(shape: Shape, colour: Colour) -> Array:
    return np.broadcast_to(np.asarray(colour, np.float32), (*shape, 3)).copy()


def _chosen(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    return tinted(colours[rng.integers(len(colours))], rng, 0.04)


def _grid(shape: Shape) -> tuple[Array, Array]:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return x, y


def shop(shape: Shape, rng: np.random.Generator) -> Array:
    """The white or nearly white background of a catalogue."""
    return _filled(shape, (1.0, 1.0, 1.0)) * np.float32(rng.uniform(0.93, 1.0))


def paper(shape: Shape, rng: np.random.Generator) -> Array:
    """Coloured card with a vertical fall of light."""
    fall = np.linspace(rng.uniform(0.8, 1.0), rng.uniform(0.9, 1.15), shape[0], dtype=np.float32)
    return _filled(shape, random_colour(rng)) * fall[:, None, None]


def gradient(shape: Shape, rng: np.random.Generator) -> Array:
    x, y = _grid(shape)
    angle = rng.uniform(0, np.pi)
    share = (x / shape[1] - 0.5) * np.cos(angle) + (y / shape[0] - 0.5) * np.sin(angle) + 0.5
    start, end = np.asarray(random_colour(rng)), np.asarray(random_colour(rng))
    return np.asarray(start + np.clip(share, 0, 1)[..., None] * (end - start), np.float32)


def planks(shape: Shape, rng: np.random.Generator) -> Array:
    """Horizontal boards, each with its own tone and grain."""
    high, long = shape[0] / rng.uniform(4, 9), shape[1] * rng.uniform(0.5, 1.2)
    x, y = _grid(shape)
    row = (y / high).astype(int)
    column = ((x + row * 0.37 * long) / long).astype(int)
    tones = rng.uniform(0.78, 1.12, (row.max() + 1, column.max() + 1)).astype(np.float32)
    grain = clouds(shape, max(1.5, shape[0] / 200), rng, 30) + 0.6 * clouds(shape, shape[0] / 60, rng, 12)
    seam = (np.abs(y / high - np.round(y / high)) * high < 1.2) | (((x + row * 0.37 * long) % long) < 1.5)
    tone = tones[row, column] * (1 + 0.12 * grain) * np.where(seam, 0.5, 1.0)
    return np.asarray(_filled(shape, _chosen(WOODS, rng)) * tone[..., None], np.float32)


def tiles(shape: Shape, rng: np.random.Generator) -> Array:
    side = max(shape) / rng.uniform(4, 10)
    x, y = _grid(shape)
    row, column = (y / side).astype(int), (x / side).astype(int)
    tones = rng.uniform(0.9, 1.06, (row.max() + 1, column.max() + 1)).astype(np.float32)
    second = np.where((row + column) % 2, 1.0, rng.choice([1.0, 1.0, 0.6]))
    joint = (x % side < side * 0.03) | (y % side < side * 0.03)
    marble = 1 + 0.06 * clouds(shape, side / 4, rng)
    tone = tones[row, column] * second * marble * np.where(joint, 0.75, 1.0)
    return np.asarray(_filled(shape, _chosen(WALLS, rng)) * tone[..., None], np.float32)


def carpet(shape: Shape, rng: np.random.Generator) -> Array:
    """Short pile, plain or with a woven pattern."""
    pile = 0.22 * clouds(shape, 1.6, rng) + 0.12 * clouds(shape, max(shape) / 12, rng)
    colour = np.asarray(random_colour(rng), np.float32)
    x, y = _grid(shape)
    period = max(shape) / rng.uniform(3, 9)
    wave = np.cos(2 * np.pi * x / period) + np.cos(2 * np.pi * y / period) * rng.choice([-1, 0, 1])
    figure = np.clip(wave * 6, 0, 1)[..., None] * rng.choice([0.0, 0.7])
    return np.asarray((colour + figure * (np.asarray(random_colour(rng)) - colour)) * (1 + pile)[..., None], np.float32)


def cloth(shape: Shape, rng: np.random.Generator) -> Array:
    """A sheet with folds."""
    folds = clouds(shape, max(shape) / 5, rng, float(rng.uniform(0.4, 2.5))) * max(shape) / 14
    slope_y, slope_x = np.gradient(folds)
    shade = 0.92 + 0.3 * (slope_x + slope_y)
    return np.asarray(
        _filled(shape, tinted(_chosen(WALLS, rng), rng)) * np.clip(shade, 0.5, 1.15)[..., None], np.float32
    )


def concrete(shape: Shape, rng: np.random.Generator) -> Array:
    spots = np.sum([clouds(shape, max(1.5, max(shape) / cells), rng) for cells in (4, 16, 60, 400)], axis=0)
    return np.asarray(_filled(shape, tinted((0.55, 0.55, 0.54), rng)) * (1 + 0.08 * spots)[..., None], np.float32)


def lawn(shape: Shape, rng: np.random.Generator) -> Array:
    blades = clouds(shape, max(3.0, max(shape) / 70), rng, 0.3) + clouds(shape, max(2.0, max(shape) / 160), rng, 0.5)
    patches = 0.15 * clouds(shape, max(shape) / 6, rng)
    return np.asarray(
        _filled(shape, tinted((0.30, 0.42, 0.17), rng)) * (1 + 0.3 * blades + patches)[..., None], np.float32
    )


def clutter(shape: Shape, rng: np.random.Generator) -> Array:
    """A shelf or a street, far out of focus."""
    picture = Image.new("RGB", (shape[1] // 4 + 1, shape[0] // 4 + 1), _bytes(random_colour(rng)))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(12, 40))):
        width, height = rng.uniform(0.05, 0.4, 2) * picture.size
        x, y = rng.uniform(-0.1, 1, 2) * picture.size
        draw = pen.rectangle if rng.random() < 0.6 else pen.ellipse
        draw((float(x), float(y), float(x + width), float(y + height)), fill=_bytes(random_colour(rng)))
    soft = picture.filter(ImageFilter.GaussianBlur(max(picture.size) * float(rng.uniform(0.008, 0.04))))
    return to_unit_range(soft.resize(shape[::-1], Image.Resampling.BICUBIC))


def _bytes(colour: Colour) -> tuple[int, int, int]:
    return round(colour[0] * 255), round(colour[1] * 255), round(colour[2] * 255)


def bricks(shape: Shape, rng: np.random.Generator) -> Array:
    high = shape[0] / rng.uniform(9, 16)
    x, y = _grid(shape)
    row = (y / high).astype(int)
    along = x / (2.4 * high) + 0.5 * (row % 2)
    tones = rng.uniform(0.8, 1.1, (row.max() + 1, int(along.max()) + 1)).astype(np.float32)
    mortar = (y % high < 0.1 * high) | (along % 1 < 0.045)
    colour = np.where(mortar[..., None], (0.72, 0.7, 0.66), tinted((0.58, 0.33, 0.25), rng))
    rough = tones[row, along.astype(int)] * (1 + 0.08 * clouds(shape, 2.5, rng))
    return np.asarray(colour * np.where(mortar, 1, rough)[..., None], np.float32)


def wallpaper(shape: Shape, rng: np.random.Generator) -> Array:
    x, _ = _grid(shape)
    stripe = np.clip(np.sin(2 * np.pi * x / shape[1] * rng.uniform(4, 14)) * 5, 0, 1) * rng.choice([0.0, 0.1, 0.2])
    return np.asarray(_filled(shape, _chosen(WALLS, rng)) * (1 - stripe)[..., None], np.float32)


FLAT: tuple[Callable[[Shape, np.random.Generator], Array], ...] = (
    shop, shop, paper, gradient, planks, tiles, carpet, cloth, concrete, lawn,
)  # fmt: skip
WALL = (wallpaper, wallpaper, bricks, clutter, clutter, paper)
FLOOR = (planks, planks, tiles, carpet, concrete, lawn, paper)


def room(shape: Shape, rng: np.random.Generator, horizon: float) -> Array:
    """A wall above a floor in perspective; the two meet at `horizon`, a share of the height."""
    height, width = shape
    meet = max(2, min(height - 2, round(height * horizon)))
    wall = WALL[rng.integers(len(WALL))]((meet, width), rng)
    texture = FLOOR[rng.integers(len(FLOOR))]((height, width), rng)
    flat = Image.fromarray((texture.clip(0, 1) * 255).astype(np.uint8))
    squeeze = width * rng.uniform(0.15, 0.3)
    # The floor's far edge shows all of the texture, its near edge only the middle.
    quad = (0, 0, squeeze, height, width - squeeze, height, width, 0)
    floor = flat.transform((width, height - meet), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    picture = np.concatenate([wall, to_unit_range(floor)])
    if rng.random() < 0.5:
        board = max(2, round(height * 0.035))
        picture[meet - board : meet] = _filled((min(board, meet), width), _chosen(WALLS, rng))
    depth = np.abs(np.arange(height) - meet) / max(1.0, 0.04 * height)
    return np.asarray(picture * (1 - 0.35 * np.exp(-depth))[:, None, None], np.float32)


def draw_prop(sketch: Sketch, rng: np.random.Generator) -> None:
    """Draws something that is neither a bag nor a shoe."""
    (_ball, _box, _mug, _plant, _book)[rng.integers(5)](sketch, rng)


def _ball(sketch: Sketch, rng: np.random.Generator) -> None:
    sketch.disc((0.5, 0.5), 0.4, random_material(rng))


def _box(sketch: Sketch, rng: np.random.Generator) -> None:
    card = leather(random_colour(rng), rng)
    sketch.panel([(0.1, 0.4), (0.6, 0.4), (0.6, 0.9), (0.1, 0.9)], card, 0.02)
    sketch.panel([(0.6, 0.4), (0.9, 0.3), (0.9, 0.75), (0.6, 0.9)], leather(tinted(card.colour, rng, 0.1), rng), 0.02)
    sketch.panel([(0.1, 0.4), (0.4, 0.3), (0.9, 0.3), (0.6, 0.4)], random_material(rng), 0.01)


def _mug(sketch: Sketch, rng: np.random.Generator) -> None:
    clay = random_material(rng)
    sketch.ring((0.72, 0.5), (0.16, 0.18), 0.05, clay)
    sketch.panel(smooth([(0.2, 0.2), (0.2, 0.2), (0.72, 0.2), (0.72, 0.2), (0.68, 0.85), (0.24, 0.85)]), clay, 0.2)
    sketch.panel(smooth([(0.2, 0.2), (0.46, 0.12), (0.72, 0.2), (0.46, 0.28)]), leather((0.2, 0.12, 0.08), rng), 0.02)


def _plant(sketch: Sketch, rng: np.random.Generator) -> None:
    green = leather(tinted((0.22, 0.42, 0.2), rng), rng)
    for angle in rng.uniform(-1.2, 1.2, int(rng.integers(6, 12))):
        tip = np.asarray((0.5 + 0.48 * np.sin(angle), 0.62 - 0.5 * np.cos(angle)))
        side = 0.06 * np.asarray((np.cos(angle), np.sin(angle)))
        middle = (tip + np.asarray((0.5, 0.62))) / 2
        sketch.panel(
            smooth([(0.5, 0.62), tuple(middle - side), tuple(tip), tuple(tip), tuple(middle + side)]), green, 0.04
        )
    sketch.panel([(0.33, 0.6), (0.67, 0.6), (0.62, 0.95), (0.38, 0.95)], random_material(rng), 0.12)


def _book(sketch: Sketch, rng: np.random.Generator) -> None:
    cover = random_material(rng)
    for level in range(int(rng.integers(1, 4))):
        y = 0.8 - 0.14 * level
        sketch.panel([(0.1, y), (0.9, y), (0.9, y + 0.12), (0.1, y + 0.12)], cover, 0.02)
        sketch.panel(
            [(0.14, y + 0.03), (0.9, y + 0.03), (0.9, y + 0.09), (0.14, y + 0.09)], leather((0.9, 0.88, 0.8), rng), 0.01
        )
        cover = random_material(rng)
