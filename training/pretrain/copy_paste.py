"""Copy-paste augmentation: objects cut out of a white background and pasted on other pictures.

Shop pictures show shoes on white, photos show them on a floor. A network that has seen only the former takes the
background for a part of the shoe. The target of a pasted picture is what the teacher computes for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from handful.training.pretrain.pictures import Pictures
from handful.training.pretrain.recipe import PretrainRecipe
from handful.training.pretrain.views import crop_box, write_once
from PIL import Image, ImageChops, ImageDraw, ImageFilter

log = logging.getLogger(__name__)

WHITE = 236  # a pixel is white when its darkest channel is at least this
BACKGROUND_SHARE = (0.15, 0.9)  # of the picture: within these bounds of white background an object is cut out
EDGE_SHARE = 0.7  # of the outermost pixels that must be white
PASTED_SHARE = 0.6  # of the views of a picture without an object: an object is pasted on it
TEXTURE_AREA = (0.03, 0.12)  # share of a picture: a crop this small at the edge is mostly a floor or a fabric
SIZE = (0.45, 0.95)  # an object's longer side, in sides of the view
SIZE_ON_TEXTURE = (0.6, 1.15)


def cut_out(image: Image.Image) -> Image.Image | None:
    """The object as RGBA, cropped to its bounding box; None where the background is not white."""
    darkest = image.getchannel(0)
    for channel in (1, 2):
        darkest = ImageChops.darker(darkest, image.getchannel(channel))
    white = darkest.point([255 if value >= WHITE else 0 for value in range(256)])
    framed = Image.new("L", (image.width + 2, image.height + 2), 255)
    framed.paste(white, (1, 1))
    pixels = np.asarray(white)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if (edge > 0).mean() < EDGE_SHARE:
        return None
    ImageDraw.floodfill(framed, (0, 0), 128)
    filled = framed.crop((1, 1, image.width + 1, image.height + 1))
    background = filled.point([255 if value == 128 else 0 for value in range(256)])
    if not BACKGROUND_SHARE[0] < (np.asarray(background) > 0).mean() < BACKGROUND_SHARE[1]:
        return None
    mask = ImageChops.invert(background).filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.6))
    out = image.convert("RGBA")
    out.putalpha(mask)
    return out.crop(mask.getbbox())


def cut_out_objects(pictures: Pictures) -> dict[int, Image.Image]:
    """Picture number -> its object, for the pictures with a white background."""
    with ThreadPoolExecutor() as pool:
        cut = list(pool.map(lambda i: cut_out(pictures[i]), range(len(pictures))))
    objects = {i: one for i, one in enumerate(cut) if one is not None}
    log.info("objects on white: %d of %d pictures", len(objects), len(pictures))
    return objects


def write_copy_paste(pictures: Pictures, views: int, recipe: PretrainRecipe, path: Path) -> np.ndarray:
    """`views` of every picture as one memory-mapped `(pictures * views, V, V, 3)` uint8 array.

    A picture with an object: the object is rotated, scaled and pasted on a crop of a picture without one. A picture
    without an object: some other picture's object is pasted on it, or it is rotated and cropped. A share of
    `recipe.on_texture` of the objects is pasted larger and on a small crop instead: on a whole picture the teacher
    sees what the picture shows and hardly the object.
    """
    if path.exists():
        return np.asarray(np.lib.format.open_memmap(path, "r"))
    objects, side = cut_out_objects(pictures), recipe.view_pixels
    with_object, without_object = sorted(objects), [i for i in range(len(pictures)) if i not in objects]

    def draw(index: int) -> Iterator[Image.Image]:
        for view in range(views):
            generator = np.random.default_rng([recipe.seed, index, view, 1])
            pasted, below = objects.get(index), int(generator.choice(without_object or with_object))
            if pasted is None:
                pasting = with_object and generator.random() < PASTED_SHARE
                pasted = objects[int(generator.choice(with_object))] if pasting else None
                below = index
            if pasted is None:
                yield _crop(pictures[below], side, generator, rotated=True)
                continue
            on_texture = recipe.on_texture > 0 and generator.random() < recipe.on_texture
            crop = _texture_crop if on_texture else _crop
            background = crop(pictures[below], side, generator)
            _paste(pasted, background, generator, SIZE_ON_TEXTURE if on_texture else SIZE)
            yield background

    return write_once(path, (len(pictures), views, side), draw)


def _crop(image: Image.Image, side: int, generator: np.random.Generator, *, rotated: bool = False) -> Image.Image:
    """A random crop of at least 30 % of the area; rotated, the largest central square without empty corners."""
    if rotated:
        short, angle = min(image.size), float(generator.uniform(-30, 30))
        image = image.rotate(angle, Image.Resampling.BICUBIC)
        radians = abs(np.deg2rad(angle))
        half = short / (np.cos(radians) + np.sin(radians)) / 2
        middle = image.width / 2, image.height / 2
        box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    else:
        box = crop_box(*image.size, generator, 0.3)
    return image.resize((side, side), Image.Resampling.BICUBIC, box=box)


def _texture_crop(image: Image.Image, side: int, generator: np.random.Generator) -> Image.Image:
    """A small square that touches the edge of the picture."""
    length = min(image.size) * float(np.sqrt(generator.uniform(*TEXTURE_AREA)))
    left, top = (float(generator.uniform(0, whole - length)) for whole in image.size)
    if generator.random() < 0.5:
        left = float(generator.choice([0, image.width - length]))
    else:
        top = float(generator.choice([0, image.height - length]))
    return image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + length, top + length))


def _paste(
    thing: Image.Image, background: Image.Image, generator: np.random.Generator, sizes: tuple[float, float]
) -> None:
    """Pastes the object at a random angle, size and place, mirrored or not; what does not fit is cut off."""
    upright = generator.random() < 0.5
    angle = float(generator.uniform(-20, 20) if upright else generator.uniform(-180, 180))
    if generator.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    thing = thing.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    thing = thing.crop(thing.getchannel("A").getbbox())
    scale = background.width * float(generator.uniform(*sizes)) / max(thing.size)
    width, height = (max(2, round(length * scale)) for length in thing.size)
    size = width, height
    thing = thing.resize(size, Image.Resampling.BICUBIC)
    free = [whole - own for whole, own in zip(background.size, size, strict=True)]
    left, top = (int(generator.integers(min(0, f), max(0, f) + 1)) for f in free)
    background.paste(thing.convert("RGB"), (left, top), thing.getchannel("A"))
