"""A photo-like picture of one drawing: background, perspective, light, shadow and camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from handful.training.sample.backdrops import FLAT, draw_prop, room
from handful.training.sample.materials import Array, MaterialSet, random_materials, to_unit_range
from handful.training.sample.sketch import Light, Sketch
from PIL import Image, ImageFilter

SCENE_PIXELS = 512  # longest side that is drawn; anything larger is enlarged
THUMBNAIL_PIXELS = 100  # up to this side a picture is drawn three times larger, then reduced
SKETCH_PIXELS = 460  # largest sketch


@dataclass(frozen=True)
class SceneSetup:
    """What all parts of one scene share: view, light and shadow."""

    standing: bool  # before a wall; otherwise lying, seen from above
    light: Light
    shadow: float  # strength in [0, 1]


def photograph(
    draw: Callable[[Sketch, MaterialSet, np.random.Generator], None], size: tuple[int, int], rng: np.random.Generator
) -> Image.Image:
    scale = 3.0 if max(size) <= THUMBNAIL_PIXELS else min(1.0, SCENE_PIXELS / max(size))
    width, height = round(size[0] * scale), round(size[1] * scale)
    setup = _random_setup(rng)
    centre = (width * rng.uniform(0.42, 0.58), height * rng.uniform(0.45, 0.62))
    extent = np.sqrt(width * height) * rng.uniform(0.5, 0.88)
    scene = _backdrop((height, width), setup, centre[1] / height, rng)
    around = _props(extent, (width, height), setup, rng)
    for picture, place in around[: len(around) // 2]:
        scene = _put(scene, picture, place, setup)
    scene = _objects(scene, draw, (extent, centre), setup, rng)
    for picture, place in around[len(around) // 2 :]:
        scene = _put(scene, picture, place, setup)
    return _developed(scene, size, rng)


def _random_setup(rng: np.random.Generator) -> SceneSetup:
    angle, tilt = rng.uniform(-np.pi, 0), rng.uniform(0.5, 1.0)  # the lamp is somewhere above
    light = (float(np.cos(angle) * np.cos(tilt)), float(np.sin(angle) * np.cos(tilt)), float(np.sin(tilt)))
    return SceneSetup(
        bool(rng.random() < 0.5), Light(light, float(rng.uniform(0.3, 0.6))), float(rng.uniform(0.15, 0.55))
    )


def _backdrop(shape: tuple[int, int], setup: SceneSetup, centre: float, rng: np.random.Generator) -> Array:
    if setup.standing and rng.random() < 0.75:
        return room(shape, rng, float(np.clip(centre + rng.uniform(-0.25, 0.2), 0.1, 0.85)))
    texture = FLAT[rng.integers(len(FLAT))]
    if setup.standing or rng.random() < 0.5:
        return texture(shape, rng)
    return np.rot90(texture(shape[::-1], rng)).copy()


def _objects(
    scene: Array,
    draw: Callable[[Sketch, MaterialSet, np.random.Generator], None],
    where: tuple[float, tuple[float, float]],
    setup: SceneSetup,
    rng: np.random.Generator,
) -> Array:
    """Draws the object and sometimes a second copy behind it, as shoes come in pairs and bags stand in rows."""
    extent, (x, y) = where
    picture = _drawn(lambda sketch: draw(sketch, random_materials(rng), rng), extent, setup, rng)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    degrees = _degrees(setup, rng)
    if rng.random() < 0.3:
        away = extent * rng.uniform(0.12, 0.3) * rng.choice([-1, 1])
        behind = _turned(picture, degrees + rng.normal(0, 5), rng)
        scene = _put(scene, behind, (x + away, y - extent * rng.uniform(0.05, 0.2)), setup)
    return _put(scene, _turned(picture, degrees, rng), (x, y), setup)


def _degrees(setup: SceneSetup, rng: np.random.Generator) -> float:
    """A standing object leans a little; a lying one is roughly straight, or rotated by any angle."""
    if setup.standing:
        return float(rng.normal(0, 7))
    return float(rng.normal(0, 12) if rng.random() < 0.75 else rng.uniform(-180, 180))


def _drawn(draw: Callable[[Sketch], None], extent: float, setup: SceneSetup, rng: np.random.Generator) -> Image.Image:
    """A drawing near its final size: `extent` is the square root of its area, and less for long, low objects."""
    sketch = Sketch(int(np.clip(extent * 1.4, 64, SKETCH_PIXELS)), setup.light, rng)
    draw(sketch)
    picture = sketch.image()
    factor = extent / max(np.sqrt(picture.width * picture.height), 0.72 * max(picture.size))
    return picture.resize(
        (max(8, round(picture.width * factor)), max(8, round(picture.height * factor))), Image.Resampling.LANCZOS
    )


def _turned(picture: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    """The picture from another viewpoint: distorted in perspective, then rotated."""
    width, height = picture.size
    inwards = np.abs(rng.uniform(-0.1, 0.1, 8)) * np.tile([width, height], 4)
    quad = np.asarray([0, 0, 0, height, width, height, width, 0]) - inwards * [1, 1, 1, -1, -1, -1, -1, 1]
    corners = tuple(float(corner) for corner in quad)
    seen = picture.transform(picture.size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return seen.rotate(degrees, Image.Resampling.BICUBIC, expand=True)


def _props(
    extent: float, size: tuple[int, int], setup: SceneSetup, rng: np.random.Generator
) -> list[tuple[Image.Image, tuple[float, float]]]:
    """Small things near the edges, in four of ten pictures."""
    if rng.random() < 0.6:
        return []
    props = []
    for _ in range(int(rng.integers(1, 4))):
        picture = _drawn(lambda sketch: draw_prop(sketch, rng), extent * rng.uniform(0.2, 0.5), setup, rng)
        x, y = rng.choice([rng.uniform(0, 0.2), rng.uniform(0.8, 1)]) * size[0], rng.uniform(0.15, 0.95) * size[1]
        props.append((_turned(picture, _degrees(setup, rng), rng), (float(x), float(y))))
    return props


def _put(scene: Array, picture: Image.Image, centre: tuple[float, float], setup: SceneSetup) -> Array:
    """Draws the shadow, then the picture; changes only the pixels of the scene that they cover."""
    reach = round(0.3 * max(picture.size))
    left, top = round(centre[0] - picture.width / 2) - reach, round(centre[1] - picture.height / 2) - reach
    x, y = max(0, left), max(0, top)
    window = scene[y : top + picture.height + 2 * reach, x : left + picture.width + 2 * reach]
    if window.size == 0:
        return scene
    size, corner = (window.shape[1], window.shape[0]), (left + reach - x, top + reach - y)
    sheet = Image.new("RGBA", size)
    sheet.paste(picture, corner)
    layer = to_unit_range(sheet)  # (h, w, 4) in [0, 1]
    alpha = layer[..., 3:]
    window *= (1 - setup.shadow * _shadow(picture, corner, size, setup))[..., None] * (1 - alpha)
    window += layer[..., :3] * alpha
    return scene


def _shadow(picture: Image.Image, corner: tuple[int, int], size: tuple[int, int], setup: SceneSetup) -> Array:
    """A cast shadow away from the lamp; for a standing object it is flat, at its foot."""
    sheet = Image.new("L", size)
    mask, (x, y) = picture.getchannel("A"), corner
    reach = 0.12 * max(picture.size)
    aside = round(-setup.light.direction[0] * reach)
    if setup.standing:
        low = max(4, picture.height // 5)
        sheet.paste(mask.resize((picture.width, low)), (x + aside, y + picture.height - low + low // 4))
    else:
        sheet.paste(mask, (x + aside, y + round(-setup.light.direction[1] * reach * 0.7)))
    soft = sheet.filter(ImageFilter.BoxBlur(max(1.0, reach * 0.25))).filter(ImageFilter.BoxBlur(reach * 0.2))
    return to_unit_range(soft)


def _developed(scene: Array, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Applies uneven light, white balance, exposure and focus, then the final size and sensor noise."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    slope = 1 + rng.uniform(-0.18, 0.18) * x + rng.uniform(-0.18, 0.18) * y - rng.uniform(0, 0.15) * (x * x + y * y)
    balance = (rng.uniform(0.88, 1.12) * rng.uniform(0.93, 1.07, 3)).astype(np.float32)
    exposed = np.clip(scene * slope[..., None] * balance, 0, 1) ** rng.uniform(0.8, 1.25)
    picture = Image.fromarray((exposed * 255 + 0.5).astype(np.uint8))
    if rng.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.6))))
    return _grained(picture.resize(size, Image.Resampling.BICUBIC), rng)


def _grained(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Adds one tile of noise, repeated: twelve million random numbers would take longer than the picture."""
    tile = rng.normal(0, rng.choice([1.0, 2.5, 5.0]), (256, 256, 1)).round().astype(np.int16)
    pixels = np.asarray(picture).astype(np.int16)
    height, width = pixels.shape[:2]
    for top in range(0, height, 256):
        strip = pixels[top : top + 256]
        strip += np.tile(tile, (1, width // 256 + 1, 1))[: len(strip), :width]
        np.clip(strip, 0, 255, out=strip)
    return Image.fromarray(pixels.astype(np.uint8))
