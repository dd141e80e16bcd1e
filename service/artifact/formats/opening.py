"""Pillow's plugins: which of them may open a file, and what they say of one that none of them opens."""

from __future__ import annotations

import io
from functools import cache

from handful.service.artifact.errors import ImageError, ImageUnreadable, NotAnImage
from handful.service.artifact.formats.kinds import (
    ALLOWED,
    EXPORT,
    READ,
    begins_like_image,
    ending,
    foreign_kind,
    has_boxes,
    is_heif,
    is_raw,
)
from PIL import Image

_BOXED = ("AVIF", "HEIF")  # in this order: Pillow's own plugin declines what is not AVIF


def plugins(data: bytes) -> tuple[str, ...]:
    """The formats that a file may have, as Pillow calls them."""
    if not has_boxes(data):
        return tuple(name for name in READ if name not in _BOXED)
    return _BOXED if heif_is_there() else ("AVIF",)


@cache
def heif_is_there() -> bool:
    """Whether pi-heif is installed; it is imported where a file needs it, and its threads count as memory."""
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    return True


def prepare_decoders() -> None:
    """Imports every decoder now, so that forked processes share it; each of them decodes in one thread."""
    from PIL import AvifImagePlugin

    Image.init()
    heif_is_there()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def not_opened(data: bytes, name: str | None) -> ImageError:
    """Why no plugin opens a file, in a sentence that is true and says what to do."""
    if is_heif(data) and not heif_is_there():
        return NotAnImage("It is a HEIC photo, and pi-heif, which reads it, is not installed: `pip install pi-heif`.")
    if (kind := foreign_kind(data)) is not None:
        return NotAnImage(f"It is {kind}, which is not read; {ALLOWED} is allowed: {EXPORT}.")
    if begins_like_image(data[:16]):
        return not_understood(_reason(data))
    if name and is_raw(name):
        return NotAnImage(f"It is a camera's raw file ({ending(name)}), which is not read: {EXPORT}.")
    return NotAnImage(f"It is not an image of a supported format; {ALLOWED} is allowed.")


def not_understood(reason: str) -> ImageUnreadable:
    """Of a file that may be whole: only its maker could tell whether it is damaged or of a rare kind."""
    return ImageUnreadable(
        f"It cannot be decoded ({reason.rstrip('.') or 'no reason given'}): it is damaged, cut off or of a rare kind;"
        f" if a viewer shows it, {EXPORT}."
    )


def _reason(data: bytes) -> str:
    """What the plugin that accepts the file's first bytes says of the rest."""
    for name in plugins(data):
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory and accept and accept(data[:16]) is True:
            try:
                factory(io.BytesIO(data), "")
            except MemoryError:
                raise
            except Exception as e:  # noqa: BLE001 - plugins raise anything
                return str(e)
    return "its header is not understood"
