"""Bytes or a path -> an upright RGB image. Every limit on images is set here."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from handful.service.artifact.decoding_cost import (
    BAND_PIXELS,
    MAX_DECODE_MEGABYTES,
    Cost,
    DecodingMemory,
    check_pixels,
    decoding_cost,
    webp_cost,
    webp_size,
)
from handful.service.artifact.errors import (
    ImageError,
    ImageTooComplex,
    ImageTooManyBytes,
    ImageTooManyPixels,
    ImageTruncated,
    ImageUnreadable,
    NotAnImage,
)
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# Endings of image files; a file of a format that is not read here gets an error instead of being passed over.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
) | frozenset(
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw")
)
MAX_MEGABYTES = 20.0
MAX_MEGAPIXELS = 100.0
ALLOWED = "JPEG, PNG, WebP, GIF, BMP or TIFF"

# Pillow warns of big images and damaged EXIF: the size is checked here, and EXIF is not needed.
warnings.filterwarnings("ignore", module=r"PIL\.")

_MEMORY = DecodingMemory(int(MAX_DECODE_MEGABYTES * 1e6))  # all threads of a command share it
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class OpenedImage:
    """An image of which only the header has been read; `cost` tells what `decode` will take."""

    def __init__(self, opened: Callable[[], Image.Image], cost: Cost) -> None:
        self._opened, self.cost = opened, cost

    def decode(self) -> Image.Image:
        with self._opened() as image:
            image.load()
            try:
                ImageOps.exif_transpose(image, in_place=True)
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001, S110 - damaged EXIF is common and harmless: the pixels are whole
                pass
            return _rgb(image)


@contextmanager
def opened_image(
    data: bytes,
    *,
    min_side: int | None = None,
    max_megabytes: float = MAX_MEGABYTES,
    max_megapixels: float = MAX_MEGAPIXELS,
    max_decode_megabytes: float = MAX_DECODE_MEGABYTES,
) -> Iterator[OpenedImage]:
    """Reads the header and checks every limit. In the block, too, all errors are `ImageError`s or `MemoryError`."""
    if len(data) > max_megabytes * 1e6:
        raise ImageTooManyBytes(f"The image has {len(data) / 1e6:.1f} MB; at most {max_megabytes:g} MB are allowed.")
    if not data:
        raise ImageUnreadable(f"The image is empty (0 bytes); a {ALLOWED} file is expected.")
    with _translated(data, max_megapixels):
        if size := webp_size(data):  # Pillow already allocates the whole picture when it opens one
            check_pixels(size, max_megapixels)
            yield OpenedImage(lambda: _open(data), webp_cost(size, data, max_decode_megabytes))
            return
        with _open(data) as image:
            full = image.size
            check_pixels(full, max_megapixels)
            if min_side is not None and image.format in {"JPEG", "MPO"}:
                image.draft(None, (min_side, min_side))  # the smallest scale with both sides at least this long
            yield OpenedImage(lambda: image, decoding_cost(image, data, full, max_decode_megabytes))


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=FORMATS)


def read_image(
    source: bytes | Path,
    *,
    min_side: int | None = None,
    max_megabytes: float = MAX_MEGABYTES,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Image.Image:
    """Decode the first frame, upright, as RGB; transparent pixels are blended with white.

    A JPEG is decoded at the smallest DCT scale (1/8, 1/4, 1/2) at which both sides still have at least
    `min_side` pixels; None decodes it at full size. Whatever the bytes are, the only errors raised are `ImageError`s.
    """
    data = source if isinstance(source, bytes) else read_bytes(source, max_megabytes=max_megabytes)
    limits = {"max_megabytes": max_megabytes, "max_megapixels": max_megapixels}
    try:
        with opened_image(data, min_side=min_side, **limits) as image, _MEMORY.held(image.cost.held_bytes):
            return image.decode()
    except MemoryError as e:
        raise ImageTooComplex("This machine's memory does not suffice to decode the image.") from e


def from_pillow(image: Image.Image) -> Image.Image:
    """An image that a program has opened or made, as `read_image` gives those that it reads; `image` stays as it is.

    The only errors raised are `ImageError`s.
    """
    with _translated(b"", MAX_MEGAPIXELS):
        check_pixels(image.size, MAX_MEGAPIXELS)
        return OpenedImage(lambda: _with_pixels(image), Cost(0, slow=False)).decode()


def _with_pixels(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise ImageUnreadable(f"The image has {image.width} × {image.height} pixels; at least one is expected.")
    return image.copy()


def may_be_image(path: Path) -> bool:
    """Whether a file has the ending of an image file, or else begins like one."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            return file.read(4).startswith(_SIGNATURES)
    except OSError:
        return False


def content_sha256(data: bytes) -> str:
    """The sha256 of an image file's bytes in hex: what the same file is recognised by, whatever its name."""
    return hashlib.sha256(data).hexdigest()


def read_bytes(path: Path, *, max_megabytes: float = MAX_MEGABYTES) -> bytes:
    """A regular file's bytes. Raises an `ImageError` for anything else, and for a file above the limit."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageUnreadable("It is not a regular file; an image file is expected.")
            if status.st_size > max_megabytes * 1e6:
                got = status.st_size / 1e6
                raise ImageTooManyBytes(f"The image has {got:.1f} MB; at most {max_megabytes:g} MB are allowed.")
            return file.read()
    except IsADirectoryError as e:
        raise ImageUnreadable("It is a folder that cannot be listed.") from e
    except OSError as e:
        raise ImageUnreadable(f"The file cannot be opened: {e.strerror or e}.") from e


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe without a writer would block


def _rgb(image: Image.Image) -> Image.Image:
    """In bands of rows, so that a large picture is not in memory several times."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    width, height = image.size
    rows = max(1, BAND_PIXELS // width)
    bands = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    highest = max(_numbers(image.crop(band)).max(initial=0.0) for band in bands) if _is_deep(image) else 0.0
    if len(bands) == 1:
        return _rgb_band(image, highest)
    rgb = Image.new("RGB", image.size)
    for band in bands:
        rgb.paste(_rgb_band(image.crop(band), highest), band)
    return rgb


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _rgb_band(image: Image.Image, highest: float) -> Image.Image:
    if _is_deep(image):
        return _eight_bits(image, highest).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _eight_bits(image: Image.Image, highest: float) -> Image.Image:
    """16-bit grey is divided by 257; 32-bit integers and floats are scaled by the range that the whole image uses."""
    values = _numbers(image)
    if image.mode == "F" and highest <= 1.0:
        scale = 255.0
    elif highest <= 255 and not image.mode.startswith("I;16"):
        scale = 1.0
    elif highest <= 65535:
        scale = 1 / 257
    else:
        scale = 255 / highest
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))


def _numbers(image: Image.Image) -> NDArray[np.float64]:
    """A 16-bit or 32-bit image's values; what is no number counts as 0."""
    return np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _webp_is_short(data: bytes) -> bool:
    return data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data)


@contextmanager
def _translated(data: bytes, max_megapixels: float) -> Iterator[None]:
    """Turns what Pillow raises (OSError, ValueError, SyntaxError, struct.error and more) into an `ImageError`."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as e:
        if data.startswith(_SIGNATURES):
            raise ImageUnreadable("The image's header is damaged or cut off.") from e
        raise NotAnImage(f"It is not an image of a supported format; {ALLOWED} is allowed.") from e
    except Image.DecompressionBombError as e:
        got = "more than 178 megapixels"  # Pillow's own limit
        raise ImageTooManyPixels(f"The image has {got}; at most {max_megapixels:g} megapixels are allowed.") from e
    except Exception as e:
        if "truncated" in str(e).lower() or _webp_is_short(data):
            raise ImageTruncated("The image is truncated: it ends before its last row.") from e
        raise ImageUnreadable(f"The image is damaged: {e}.") from e
