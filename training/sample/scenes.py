"""A picture of one drawing: put down somewhere, turned, lit, and taken with an ordinary camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from handful.training.sample.backdrops import FLAT, room, thing
from handful.training.sample.materials import Array, Outfit, outfit, shares
from handful.training.sample.sketch import Light, Sketch
from PIL import Image, ImageFilter

SCENE_PIXELS = 512  # longest side that is drawn; anything larger is enlarged
THUMBNAIL_PIXELS = 100  # up to this side a picture is drawn three times larger, then reduced
SKETCH_PIXELS = 460  # largest sketch


@dataclass(frozen=True)
class Stage:
    """Where the object is: standing before a wall, or lying on something seen from above."""

    standing: bool
    light: Light
    shadow: float


def photograph(
    draw: Callable[[Sketch, Outfit, np.random.Generator], None], size: tuple[int, int], rng: np.random.Generator
) -> Image.Image:
    scale = 3.0 if max(size) <= THUMBNAIL_PIXELS else min(1.0, SCENE_PIXELS / max(size))
    width, height = round(size[0] * scale), round(size[1] * scale)
    stage = _stage(rng)
    centre = (width * rng.uniform(0.42, 0.58), height * rng.uniform(0.45, 0.62))
    extent = np.sqrt(width * height) * rng.uniform(0.5, 0.88)
    scene = _backdrop((height, width), stage, centre[1] / height, rng)
    around = _things(extent, (width, height), stage, rng)
    for picture, place in around[: len(around) // 2]:
        scene = _put(scene, picture, place, stage)
    scene = _objects(scene, draw, (extent, centre), stage, rng)
    for picture, place in around[len(around) // 2 :]:
        scene = _put(scene, picture, place, stage)
    return _developed(scene, size, rng)


def _stage(rng: np.random.Generator) -> Stage:
    angle, tilt = rng.uniform(-np.pi, 0), rng.uniform(0.5, 1.0)  # the lamp is above, somewhere
    light = (float(np.cos(angle) * np.cos(tilt)), float(np.sin(angle) * np.cos(tilt)), float(np.sin(tilt)))
    return Stage(bool(rng.random() < 0.5), Light(light, float(rng.uniform(0.3, 0.6))), float(rng.uniform(0.15, 0.55)))


def _backdrop(shape: tuple[int, int], stage: Stage, centre: float, rng: np.random.Generator) -> Array:
    if stage.standing and rng.random() < 0.75:
        return room(shape, rng, float(np.clip(centre + rng.uniform(-0.25, 0.2), 0.1, 0.85)))
    texture = FLAT[rng.integers(len(FLAT))]
    if stage.standing or rng.random() < 0.5:
        return texture(shape, rng)
    return np.rot90(texture(shape[::-1], rng)).copy()


def _objects(
    scene: Array,
    draw: Callable[[Sketch, Outfit, np.random.Generator], None],
    where: tuple[float, tuple[float, float]],
    stage: Stage,
    rng: np.random.Generator,
) -> Array:
    """The object, and now and then its like behind it: shoes come in pairs, and bags stand in rows."""
    extent, (x, y) = where
    picture = _drawn(lambda sketch: draw(sketch, outfit(rng), rng), extent, stage, rng)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    degrees = _degrees(stage, rng)
    if rng.random() < 0.3:
        away = extent * rng.uniform(0.12, 0.3) * rng.choice([-1, 1])
        behind = _turned(picture, degrees + rng.normal(0, 5), rng)
        scene = _put(scene, behind, (x + away, y - extent * rng.uniform(0.05, 0.2)), stage)
    return _put(scene, _turned(picture, degrees, rng), (x, y), stage)


def _degrees(stage: Stage, rng: np.random.Generator) -> float:
    """What stands leans a little; what lies was put down straight, or any way."""
    if stage.standing:
        return float(rng.normal(0, 7))
    return float(rng.normal(0, 12) if rng.random() < 0.75 else rng.uniform(-180, 180))


def _drawn(draw: Callable[[Sketch], None], extent: float, stage: Stage, rng: np.random.Generator) -> Image.Image:
    """Drawn near its final size: `extent` is the root of its area, less for what is long and low."""
    sketch = Sketch(int(np.clip(extent * 1.4, 64, SKETCH_PIXELS)), stage.light, rng)
    draw(sketch)
    picture = sketch.image()
    factor = extent / max(np.sqrt(picture.width * picture.height), 0.72 * max(picture.size))
    return picture.resize(
        (max(8, round(picture.width * factor)), max(8, round(picture.height * factor))), Image.Resampling.LANCZOS
    )


def _turned(picture: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    """Seen from elsewhere: foreshortened, then rotated."""
    width, height = picture.size
    inwards = np.abs(rng.uniform(-0.1, 0.1, 8)) * np.tile([width, height], 4)
    quad = np.asarray([0, 0, 0, height, width, height, width, 0]) - inwards * [1, 1, 1, -1, -1, -1, -1, 1]
    corners = tuple(float(corner) for corner in quad)
    seen = picture.transform(picture.size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return seen.rotate(degrees, Image.Resampling.BICUBIC, expand=True)


def _things(
    extent: float, size: tuple[int, int], stage: Stage, rng: np.random.Generator
) -> list[tuple[Image.Image, tuple[float, float]]]:
    """Small things near the edges, in four pictures of ten."""
    if rng.random() < 0.6:
        return []
    found = []
    for _ in range(int(rng.integers(1, 4))):
        picture = _drawn(lambda sketch: thing(sketch, rng), extent * rng.uniform(0.2, 0.5), stage, rng)
        x, y = rng.choice([rng.uniform(0, 0.2), rng.uniform(0.8, 1)]) * size[0], rng.uniform(0.15, 0.95) * size[1]
        found.append((_turned(picture, _degrees(stage, rng), rng), (float(x), float(y))))
    return found


def _put(scene: Array, picture: Image.Image, centre: tuple[float, float], stage: Stage) -> Array:
    """Shadow first, then the picture; only what they cover of the scene is touched."""
    reach = round(0.3 * max(picture.size))
    left, top = round(centre[0] - picture.width / 2) - reach, round(centre[1] - picture.height / 2) - reach
    x, y = max(0, left), max(0, top)
    window = scene[y : top + picture.height + 2 * reach, x : left + picture.width + 2 * reach]
    if window.size == 0:
        return scene
    size, corner = (window.shape[1], window.shape[0]), (left + reach - x, top + reach - y)
    sheet = Image.new("RGBA", size)
    sheet.paste(picture, corner)
    layer = shares(sheet)  # (h, w, 4) in [0, 1]
    alpha = layer[..., 3:]
    window *= (1 - stage.shadow * _shadow(picture, corner, size, stage))[..., None] * (1 - alpha)
    window += layer[..., :3] * alpha
    return scene


def _shadow(picture: Image.Image, corner: tuple[int, int], size: tuple[int, int], stage: Stage) -> Array:
    """A cast shadow away from the lamp; flattened at the foot of what stands."""
    sheet = Image.new("L", size)
    mask, (x, y) = picture.getchannel("A"), corner
    reach = 0.12 * max(picture.size)
    aside = round(-stage.light.direction[0] * reach)
    if stage.standing:
        low = max(4, picture.height // 5)
        sheet.paste(mask.resize((picture.width, low)), (x + aside, y + picture.height - low + low // 4))
    else:
        sheet.paste(mask, (x + aside, y + round(-stage.light.direction[1] * reach * 0.7)))
    soft = sheet.filter(ImageFilter.BoxBlur(max(1.0, reach * 0.25))).filter(ImageFilter.BoxBlur(reach * 0.2))
    return shares(soft)


def _developed(scene: Array, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Uneven light, white balance, exposure, focus, then the final size and the sensor's grain."""
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
    """One tile of noise, repeated: drawing twelve million numbers would cost more than the picture."""
    tile = rng.normal(0, rng.choice([1.0, 2.5, 5.0]), (256, 256, 1)).round().astype(np.int16)
    pixels = np.asarray(picture).astype(np.int16)
    height, width = pixels.shape[:2]
    for top in range(0, height, 256):
        strip = pixels[top : top + 256]
        strip += np.tile(tile, (1, width // 256 + 1, 1))[: len(strip), :width]
        np.clip(strip, 0, 255, out=strip)
    return Image.fromarray(pixels.astype(np.uint8))
