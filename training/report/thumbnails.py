"""Small versions of photos: as JPEG for the page, and together as one PNG (contact sheet)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from handful.service.artifact.errors import ImageError
from handful.service.artifact.images import read_image
from PIL import Image, ImageDraw, ImageFont

SIDE = 176  # pixels of the longer side
COLUMNS = 4
CAPTION = 26  # pixels of height
INK, PAPER = "#39414a", "white"


def thumbnail(path: Path, kept: bytes = b"") -> Image.Image | None:
    """Of the file, else of the JPEG that is kept of it; None where both are gone or unreadable."""
    for source in (path, kept):
        try:
            image = read_image(source, min_side=SIDE)
        except ImageError:
            continue
        image.thumbnail((SIDE, SIDE))
        return image
    return None


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def contact_sheet(images: Sequence[Image.Image | None]) -> bytes:
    """A PNG with the photos numbered from 1, left to right; an empty frame stands for a missing one."""
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    gap = 8
    sheet = Image.new("RGB", (columns * (SIDE + gap), rows * (SIDE + CAPTION + gap)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for number, image in enumerate(images):
        left, top = number % columns * (SIDE + gap), number // columns * (SIDE + CAPTION + gap)
        pen.text((left + SIDE / 2, top + CAPTION / 2), str(number + 1), INK, font, anchor="mm")
        if image is None:
            pen.rectangle((left, top + CAPTION, left + SIDE - 1, top + CAPTION + SIDE - 1), outline=INK)
        else:
            sheet.paste(image, (left + (SIDE - image.width) // 2, top + CAPTION + (SIDE - image.height) // 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
