"""What decoding an image will take, told from its header: the limits on sides and scans, and the bytes of memory.

The bytes are an upper bound: images are also decoded in processes that have been given just that much memory.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from handful.service.artifact.errors import ImageTooComplex, ImageTooManyPixels
from handful.service.artifact.formats.colours import BAND_PIXELS
from handful.service.artifact.formats.samples import TiffLayout
from PIL import Image

MAX_SIDE = 65_500  # pixels; the most that a JPEG can have, and no camera or scanner exceeds it
MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each one costs a pass over all pixels
_BAND_BYTES = 64  # per pixel of a band: some copies in float64
_SLOW_SCANS = 30e6  # pixels times scans of a progressive JPEG: half a second
_SLOW_SAMPLES = 4e6  # pixels of a TIFF whose samples are read apart
_FIXED_BYTES = 3_000_000
_BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 1}  # in Pillow's memory; 4 in other modes
_WEBP_BYTES = 21  # per pixel: four copies in Pillow, and one of a lossless decoder
_BOXED_BYTES = {"HEIF": 17, "AVIF": 17}  # per pixel: planes, what is made of them, and copies; measured 9 to 16.4
_BOXED_SLOW = {"HEIF": 3e6, "AVIF": 12e6}  # pixels that take a third of a second
_TURNING = (b"eXIf", b"Raw profile type", b"com.adobe.xmp")  # where a PNG says it
_SCAN, _END = 0xDA, b"\xd9"  # a JPEG's markers, after 0xFF
_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])")
_TIFF_BITS, _TIFF_TURN, _TIFF_SAMPLES, _TIFF_ROWS, _TIFF_XMP, _TIFF_TILE = 258, 274, 277, 278, 700, (322, 323)


class Cost(NamedTuple):
    """What decoding one image takes at most."""

    held_bytes: int
    slow: bool  # it may take long although it is small


class DecodingMemory:
    """The memory that the threads of a process decode in; a thread that finds no room waits for it."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit, self._used, self._changed = limit_bytes, 0, threading.Condition()

    @contextmanager
    def held(self, count: int) -> Iterator[None]:
        count = min(count, self.limit)
        with self._changed:
            self._changed.wait_for(lambda: self._used + count <= self.limit)
            self._used += count
        try:
            yield
        finally:
            with self._changed:
                self._used -= count
                self._changed.notify_all()


def check_pixels(size: tuple[int, int], max_megapixels: float) -> None:
    """Raises `ImageTooManyPixels` for too many pixels in all or on one side."""
    width, height = size
    if max(size) > MAX_SIDE:
        raise ImageTooManyPixels(
            f"The image has {width} x {height} pixels; at most {MAX_SIDE} pixels per side are allowed."
        )
    if width * height > max_megapixels * 1e6:
        count = width * height / 1e6
        got = f"{width} x {height} pixels ({count:.{0 if count >= 10 else 2}f} megapixels)"
        raise ImageTooManyPixels(f"The image has {got}; at most {max_megapixels:g} megapixels are allowed.")


def decoding_cost(image: Image.Image, data: bytes, full: tuple[int, int], max_megabytes: float) -> Cost:
    """Of an image that is opened and not yet decoded, perhaps at a smaller size than its `full` one.

    Raises `ImageTooComplex` for too many scans, or if decoding would take more memory than allowed.
    """
    scans = _scans(image, data)
    if scans > MAX_SCANS:
        raise ImageTooComplex(f"The JPEG has more than {MAX_SCANS} scans; at most {MAX_SCANS} are allowed.")
    decoded = _picture_bytes(image, data) + _codec_bytes(image, full, scans)
    if image.format in _BOXED_BYTES:
        decoded = max(decoded, full[0] * full[1] * _BOXED_BYTES[image.format])
        return Cost(_held_bytes(data, decoded, full, max_megabytes), full[0] * full[1] > _BOXED_SLOW[image.format])
    held = _held_bytes(data, decoded, full, max_megabytes)
    slow = image.format == "BMP" and any(tile[0] == "bmp_rle" for tile in image.tile)  # type: ignore[attr-defined]
    return Cost(held, slow or scans * full[0] * full[1] > _SLOW_SCANS)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as a WebP's first chunk tells them; None for other formats."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind, number = data[12:16], int.from_bytes(data[21:25], "little")
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        return 1 + (number & 0x3FFF), 1 + (number >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return None


def webp_cost(size: tuple[int, int], data: bytes, max_megabytes: float) -> Cost:
    """As `decoding_cost`, of a WebP that is not opened."""
    return Cost(_held_bytes(data, size[0] * size[1] * _WEBP_BYTES, size, max_megabytes), slow=False)


def samples_cost(layout: TiffLayout, data: bytes, max_megabytes: float) -> Cost:
    """As `decoding_cost`, of a TIFF whose samples are read apart: two copies as stored, two as a picture."""
    pixels = layout.size[0] * layout.size[1]
    band = _BAND_BYTES * layout.samples * min(pixels, BAND_PIXELS)
    packed = layout.tile[0] * layout.tile[1] * layout.stored_bytes
    decoded = pixels * (2 * layout.stored_bytes + 8) + 2 * packed + band
    return Cost(_held_bytes(data, decoded, layout.size, max_megabytes), slow=pixels > _SLOW_SAMPLES)


def _held_bytes(data: bytes, decoded: int, size: tuple[int, int], max_megabytes: float) -> int:
    held = 3 * len(data) + _FIXED_BYTES + decoded
    if held > max_megabytes * 1e6:
        raise ImageTooComplex(
            f"Decoding the image's {size[0]} x {size[1]} pixels would take {held / 1e6:.0f} MB of memory;"
            f" at most {max_megabytes:g} MB are allowed."
        )
    return held


def _picture_bytes(image: Image.Image, data: bytes) -> int:
    """The decoded picture, and the copy that turns it, converts it to RGB or cuts off its far ends."""
    width, height = image.size
    own = 2 if image.mode.startswith("I;16") else _BYTES_PER_PIXEL.get(image.mode, 4)
    turned = own if _may_turn(image, data) else 0
    converted = 4 if image.mode != "RGB" or "transparency" in image.info else 0
    cropped = 4 if max(image.size) > 8 * min(image.size) else 0
    band = _BAND_BYTES * min(width * height, BAND_PIXELS) if converted else 0
    return width * height * (own + max(turned, converted, cropped)) + band


def _may_turn(image: Image.Image, data: bytes) -> bool:
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        return bool(tags.get(_TIFF_TURN, 1) != 1 or _TIFF_XMP in tags)
    return image.format in {"JPEG", "MPO"} or any(word in data for word in _TURNING)


def _codec_bytes(image: Image.Image, full: tuple[int, int], scans: int) -> int:
    """What the decoder of the format holds beside the picture."""
    pixels = full[0] * full[1]
    if image.format in {"JPEG", "MPO"}:
        return (pixels * len(image.getbands()) * 2 if scans else 0) + 1000 * full[0]  # coefficients, rows
    if image.format == "TIFF":
        return _tile_bytes(image)
    if image.format in {"GIF", "BMP"}:
        return pixels * 4  # an animation's canvas; run lengths are decoded into a buffer of their own
    return 64 * full[0]  # rows


def _tile_bytes(image: Image.Image) -> int:
    """A TIFF's largest piece, which libtiff decodes at once: once as stored, once as RGBA."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    width, height = image.size
    tile = [int(tags.get(tag, 0)) for tag in _TIFF_TILE]
    pixels = tile[0] * tile[1] if all(tile) else width * min(height, int(tags.get(_TIFF_ROWS, height)))
    bits, samples = tags.get(_TIFF_BITS, (1,)), int(tags.get(_TIFF_SAMPLES, 1))
    stored = int(max(bits)) * max(samples, len(bits)) // 8 + 1
    return pixels * (stored + 4)


def _scans(image: Image.Image, data: bytes) -> int:
    """How often a JPEG's decoder passes over all pixels before the picture is known; 0 if it needs only one pass.

    In compressed data a byte 0xFF is followed by 0 or a restart, so 0xFFDA begins a scan or lies in another header.
    """
    if image.format not in {"JPEG", "MPO"}:
        return 0
    start = _first_scan(data)
    if start is None or start + 4 >= len(data):
        return 0
    if not image.info.get("progressive") and data[start + 4] == len(image.getbands()):
        return 0
    count = data.count(b"\xff\xda", start)
    return count if count <= MAX_SCANS else _walked_scans(data, start)


def _first_scan(data: bytes) -> int | None:
    """Where the first marker 0xFFDA is; None if there is none."""
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker = data[position + 1]
        if marker == _SCAN:
            return position
        if marker == 0xFF:
            position += 1
        else:
            alone = marker in {0x00, 0x01, *range(0xD0, 0xD9)}  # markers without a length
            position += 2 if alone else 2 + int.from_bytes(data[position + 2 : position + 4])
    return None


def _walked_scans(data: bytes, position: int) -> int:
    """The scans from there to the picture's end, those in thumbnails, comments and what is appended left out."""
    scans = 0
    while scans <= MAX_SCANS and (found := _MARKER.search(data, position)) and found[1] != _END:
        scans += found[1][0] == _SCAN
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return scans
