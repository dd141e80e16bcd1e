"""Photos of every kind that people have, made from a few hundred: formats, modes, sizes, orientations, profiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from handful.service.artifact.errors import ImageError
from handful.service.artifact.images import read_image
from PIL import Image

from benchmarks.encodings import FEW_COLOURS, Encode, encodings, saved, turned

SMALL, USUAL, PHONE, LARGEST = 28, 2000, 4000, 8000  # pixels of the longer side; 8000 x 6000 is 48 megapixels
PHONE_SHARE, LARGEST_SHARE = 0.01, 0.002  # of the photos: such files take seconds to write
MOST_BYTES = 19_000_000  # a photo's file may have 20 MB
LARGE: dict[str, Encode] = {
    "JPEG, large": lambda image: saved(image, "JPEG", quality=88),
    "JPEG, large, turned": turned("JPEG", 8, Image.Transpose.ROTATE_270, quality=88),
    "JPEG, large, grey": lambda image: saved(image.convert("L"), "JPEG", quality=88),
}


class OddPhotos:
    """Photo number N is the same on every machine with the same libraries."""

    def __init__(self, files: list[Path]) -> None:
        self.files, self.kinds = files, encodings()

    def write(self, number: int, folder: Path) -> tuple[str, str]:
        """Its file's name and its encoding."""
        random = np.random.default_rng(number)
        image = self._picture(random)
        large = max(image.size) > USUAL
        kinds = {name: ("jpg", encode) for name, encode in LARGE.items()} if large else self.kinds
        kind = list(kinds)[int(random.integers(len(kinds)))]
        ending, encode = kinds[kind]
        data = encode(image)
        if len(data) > MOST_BYTES:
            ending, data = "jpg", saved(image, "JPEG", quality=75)
        name = f"{number:06}.{ending}"
        (folder / name).write_bytes(data)
        return name, kind

    def _picture(self, random: np.random.Generator) -> Image.Image:
        """A part of one photo, at least half as wide and high, in any size and often squeezed to another shape."""
        image = read_image(self.files[int(random.integers(len(self.files)))])
        width, height = (int(n * random.uniform(0.5, 1)) for n in image.size)
        left, top = (int(random.integers(0, n - m + 1)) for n, m in zip(image.size, (width, height), strict=True))
        image = image.crop((left, top, left + width, top + height))
        side, shape = self._side(random), float(np.exp(random.normal(0, 0.35)))
        size = (side, max(SMALL, round(side / shape))) if shape > 1 else (max(SMALL, round(side * shape)), side)
        if side == LARGEST:
            size = (LARGEST, LARGEST * 3 // 4)
        return image.resize(size, Image.Resampling.BICUBIC)

    def _side(self, random: np.random.Generator) -> int:
        drawn = random.random()
        if drawn < LARGEST_SHARE:
            return LARGEST
        if drawn < LARGEST_SHARE + PHONE_SHARE:
            return PHONE
        return round(float(np.exp(random.uniform(np.log(SMALL), np.log(USUAL)))))


def as_ten_lines_read(path: Path, kind: str, min_side: int) -> Image.Image | None:
    """As docs/export.md opens a photo; None for the kinds of files whose colours Pillow alone gets wrong."""
    from PIL import ImageOps

    if not kind.startswith(("JPEG", "PNG", "WebP", "BMP")) or any(
        word in kind for word in ("CMYK", "P3", "2020", "16 bits", "transparency", "no end", FEW_COLOURS)
    ):
        return None
    with Image.open(path) as image:
        image.draft("RGB", (min_side, min_side))
        return ImageOps.exif_transpose(image).convert("RGB")


def readable(path: Path, min_side: int) -> Image.Image | None:
    """As handful reads it; None where it is no image to it."""
    try:
        return read_image(path, min_side=min_side)
    except ImageError:
        return None
