"""Objects cut out of their white ground and laid over other pictures: no background belongs to a kind of object.

Shop pictures show shoes on white and photos show them on a floor; a network that saw only the former holds the ground
for a part of the shoe. What the pasted picture is worth, the teacher says: it is asked about the result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from handful.training.pretrain.pictures import Pictures
from handful.training.pretrain.recipe import Recipe
from handful.training.pretrain.views import crop_box, drawn_once
from PIL import Image, ImageChops, ImageDraw, ImageFilter

log = logging.getLogger(__name__)

WHITE = 236  # the darkest channel of a pixel that counts as white ground
GROUND = (0.15, 0.9)  # shares of a picture that white ground may cover for an object to be cut out
RIM = 0.7  # share of the outermost pixels that must be white
PASTED = 0.6  # share of the views of a picture without an object in which it is the ground of one
CLOTH = (0.03, 0.12)  # share of a picture's area, at its rim, that is a floor or a cloth more often than a thing
SIZE = (0.45, 0.95)  # an object's longer side, in sides of the view
SIZE_ON_CLOTH = (0.6, 1.15)


def cut_out(image: Image.Image) -> Image.Image | None:
    """The object on white ground as RGBA, cropped to its box; None where the ground is not white."""
    darkest = image.getchannel(0)
    for channel in (1, 2):
        darkest = ImageChops.darker(darkest, image.getchannel(channel))
    white = darkest.point([255 if value >= WHITE else 0 for value in range(256)])
    framed = Image.new("L", (image.width + 2, image.height + 2), 255)
    framed.paste(white, (1, 1))
    rim = np.asarray(white)
    edge = np.concatenate([rim[0], rim[-1], rim[:, 0], rim[:, -1]])
    if (edge > 0).mean() < RIM:
        return None
    ImageDraw.floodfill(framed, (0, 0), 128)
    ground = framed.crop((1, 1, image.width + 1, image.height + 1)).point([255 if v == 128 else 0 for v in range(256)])
    if not GROUND[0] < (np.asarray(ground) > 0).mean() < GROUND[1]:
        return None
    mask = ImageChops.invert(ground).filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.6))
    out = image.convert("RGBA")
    out.putalpha(mask)
    return out.crop(mask.getbbox())


def objects(pictures: Pictures) -> dict[int, Image.Image]:
    """Every picture's object by the picture's number, where it stands on white ground."""
    with ThreadPoolExecutor() as pool:
        cut = list(pool.map(lambda i: cut_out(pictures[i]), range(len(pictures))))
    found = {i: one for i, one in enumerate(cut) if one is not None}
    log.info("objects on white: %d of %d pictures", len(found), len(pictures))
    return found


def write_composed(pictures: Pictures, views: int, recipe: Recipe, path: Path) -> np.ndarray:
    """`views` of every picture as one memory-mapped `(pictures * views, V, V, 3)` uint8 array.

    An object on white is laid, turned and scaled, over a crop of a picture that is none; such a picture is the ground
    of an object in its turn, or a turned crop of itself. `recipe.on_cloth` of the objects lie on a small crop instead
    and are larger: on whole pictures the teacher sees what is in them and hardly the object.
    """
    if path.exists():
        return np.asarray(np.lib.format.open_memmap(path, "r"))
    cut, side = objects(pictures), recipe.view_pixels
    things, grounds = sorted(cut), [i for i in range(len(pictures)) if i not in cut]

    def draw(index: int) -> Iterator[Image.Image]:
        for view in range(views):
            generator = np.random.default_rng([recipe.seed, index, view, 1])
            above, below = cut.get(index), int(generator.choice(grounds or things))
            if above is None:
                above = cut[int(generator.choice(things))] if things and generator.random() < PASTED else None
                below = index
            if above is None:
                yield _crop(pictures[below], side, generator, turned=True)
                continue
            on_cloth = recipe.on_cloth > 0 and generator.random() < recipe.on_cloth
            cut_ground = _cloth if on_cloth else _crop
            ground = cut_ground(pictures[below], side, generator)
            _paste(above, ground, generator, SIZE_ON_CLOTH if on_cloth else SIZE)
            yield ground

    return drawn_once(path, (len(pictures), views, side), draw)


def _crop(image: Image.Image, side: int, generator: np.random.Generator, *, turned: bool = False) -> Image.Image:
    """A random crop of at least 30 % of the area; a turned one is taken from the middle, where no corner is empty."""
    if turned:
        short, angle = min(image.size), float(generator.uniform(-30, 30))
        image = image.rotate(angle, Image.Resampling.BICUBIC)
        radians = abs(np.deg2rad(angle))
        half = short / (np.cos(radians) + np.sin(radians)) / 2
        middle = image.width / 2, image.height / 2
        box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    else:
        box = crop_box(*image.size, generator, 0.3)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)


def _cloth(image: Image.Image, side: int, generator: np.random.Generator) -> Image.Image:
    """A small square that touches the rim."""
    length = min(image.size) * float(np.sqrt(generator.uniform(*CLOTH)))
    left, top = (float(generator.uniform(0, whole - length)) for whole in image.size)
    if generator.random() < 0.5:
        left = float(generator.choice([0, image.width - length]))
    else:
        top = float(generator.choice([0, image.height - length]))
    return image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + length, top + length))


def _paste(thing: Image.Image, ground: Image.Image, generator: np.random.Generator, sizes: tuple[float, float]) -> None:
    """Any way round, mirrored or not; what is larger than the ground is cut off at its rim."""
    upright = generator.random() < 0.5
    angle = float(generator.uniform(-20, 20) if upright else generator.uniform(-180, 180))
    if generator.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    thing = thing.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    thing = thing.crop(thing.getchannel("A").getbbox())
    scale = ground.width * float(generator.uniform(*sizes)) / max(thing.size)
    width, height = (max(2, round(length * scale)) for length in thing.size)
    size = width, height
    thing = thing.resize(size, Image.Resampling.BICUBIC)
    free = [g - s for g, s in zip(ground.size, size, strict=True)]
    left, top = (int(generator.integers(min(0, f), max(0, f) + 1)) for f in free)
    ground.paste(thing.convert("RGB"), (left, top), thing.getchannel("A"))
