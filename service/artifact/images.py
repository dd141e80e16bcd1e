"""Bytes or a path -> an upright RGB image. Every limit on what an image may be lives here."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import (
    ImageError,
    ImageTooManyBytes,
    ImageTooManyPixels,
    ImageTruncated,
    ImageUnreadable,
    NotAnImage,
)
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# Endings that promise an image; those of formats that are not read get an error, not silence.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
) | frozenset(
    (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw")
)
MAX_MEGABYTES = 20.0
MAX_MEGAPIXELS = 100.0
ALLOWED = "JPEG, PNG, WebP, GIF, BMP or TIFF"

# Pillow warns of big images and damaged EXIF; the first is checked here, the second does not matter.
warnings.filterwarnings("ignore", module=r"PIL\.")

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(
    source: bytes | Path,
    *,
    min_side: int | None = None,
    max_megabytes: float = MAX_MEGABYTES,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Image.Image:
    """Decode the first frame, upright, as RGB; transparency is laid on white.

    A JPEG is decoded at the smallest DCT scale (1/8, 1/4, 1/2) whose sides are still at least
    `min_side` pixels; None decodes it whole. Raises an `ImageError`, and nothing else, for
    whatever the bytes may be.
    """
    data = source if isinstance(source, bytes) else read_bytes(source, max_megabytes=max_megabytes)
    if len(data) > max_megabytes * 1e6:
        raise ImageTooManyBytes(f"The image has {len(data) / 1e6:.1f} MB; at most {max_megabytes:g} MB are allowed.")
    if not data:
        raise ImageUnreadable(f"The image is empty (0 bytes); a {ALLOWED} file is expected.")
    with _translated(data, max_megapixels):
        return _decode(data, min_side, max_megapixels)


def may_be_image(path: Path) -> bool:
    """Whether a file's ending, or else its first bytes, are those of an image."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            return file.read(4).startswith(_SIGNATURES)
    except OSError:
        return False


def read_bytes(path: Path, *, max_megabytes: float = MAX_MEGABYTES) -> bytes:
    """A file's bytes; only regular files are opened, and no more than the limit is read."""
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
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would wait for ever


def _decode(data: bytes, min_side: int | None, max_megapixels: float) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > max_megapixels * 1e6:
            got = f"{width} x {height} pixels ({width * height / 1e6:.0f} megapixels)"
            raise ImageTooManyPixels(f"The image has {got}; at most {max_megapixels:g} megapixels are allowed.")
        if min_side is not None and image.format in {"JPEG", "MPO"}:
            image.draft(None, (min_side, min_side))  # largest scale that leaves both sides at least so long
        image.load()
        return _upright(_rgb(image), _orientation(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey by its high byte; 32-bit integer and float grey by what range they use."""
    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    highest = values.max(initial=0.0)
    if image.mode == "F" and highest <= 1.0:
        scale = 255.0
    elif highest <= 255 and not image.mode.startswith("I;16"):
        scale = 1.0
    elif highest <= 65535:
        scale = 1 / 257
    else:
        scale = 255 / highest
    return Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF is common and harmless: the picture itself is whole
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _webp_is_short(data: bytes) -> bool:
    return data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data)


@contextmanager
def _translated(data: bytes, max_megapixels: float) -> Iterator[None]:
    """Pillow raises OSError, ValueError, SyntaxError, struct.error and more; here they become ours."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as e:
        if data.startswith(_SIGNATURES):
            raise ImageUnreadable("The image's header is damaged or cut off.") from e
        raise NotAnImage(f"It is not an image of a supported format; {ALLOWED} is allowed.") from e
    except Image.DecompressionBombError as e:
        got = "more than 178 megapixels"  # where Pillow itself refuses to go on
        raise ImageTooManyPixels(f"The image has {got}; at most {max_megapixels:g} megapixels are allowed.") from e
    except Exception as e:
        if "truncated" in str(e).lower() or _webp_is_short(data):
            raise ImageTruncated("The image is truncated: it ends before its last row.") from e
        raise ImageUnreadable(f"The image is damaged: {e}.") from e
