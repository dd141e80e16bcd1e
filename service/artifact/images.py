"""Bytes or a path -> an upright RGB image. Every limit on images is set here."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

from handful.service.artifact.decoding_cost import (
    Cost,
    DecodingMemory,
    check_pixels,
    decoding_cost,
    samples_cost,
    webp_cost,
    webp_size,
)
from handful.service.artifact.errors import (
    ImageError,
    ImageTooComplex,
    ImageTooManyBytes,
    ImageTruncated,
    ImageUnreadable,
    NotAnImage,
)
from handful.service.artifact.formats.colours import to_srgb
from handful.service.artifact.formats.jpeg_end import seems_to_end, whole_without_end
from handful.service.artifact.formats.kinds import ALLOWED, EXPORT, SUFFIXES, begins_like_image, is_raw, is_webp
from handful.service.artifact.formats.metadata import without_metadata, without_texts
from handful.service.artifact.formats.opening import not_opened, not_understood, plugins
from handful.service.artifact.formats.primaries import numbered_profile
from handful.service.artifact.formats.samples import TiffLayout, read_samples, tiff_layout
from handful.service.artifact.limits import ImageLimits, decode_megabytes, image_limits
from handful.service.artifact.remote import RemoteFile
from PIL import Image, ImageOps, UnidentifiedImageError

TRUNCATED = "The image is truncated: it ends before its last row."

# Pillow warns of big images and damaged EXIF: the size is checked here, and EXIF is not needed.
warnings.filterwarnings("ignore", module=r"PIL\.")


class OpenedImage:
    """An image of which only the header has been read; `cost` tells what `decode` will take."""

    def __init__(self, data: bytes, opened: Callable[[bytes], Image.Image], cost: Cost, min_side: int | None) -> None:
        self.cost, self._data, self._opened, self._min_side = cost, data, opened, min_side

    def decode(self) -> Image.Image:
        with self._opened(self._data) as image:
            return to_srgb(self._upright(self._loaded(image)))

    def _loaded(self, image: Image.Image) -> Image.Image:
        jpeg = image.format in {"JPEG", "MPO"}
        try:
            image.load()
            whole = not jpeg or seems_to_end(self._data)
        except OSError as e:
            if not jpeg or "truncated" not in str(e):
                raise
            whole = False
        if not whole:
            restored = whole_without_end(self._data, self._opened)
            if restored is None:
                raise ImageTruncated(TRUNCATED)
            image = restored
        if "icc_profile" not in image.info and (profile := numbered_profile(self._data)):
            image.info["icc_profile"] = profile
        return self._smaller(image) if image.format in {"AVIF", "HEIF"} else image

    def _smaller(self, image: Image.Image) -> Image.Image:
        """As a JPEG is decoded small, and apart from its file, which would be decoded again where it holds several."""
        factor = min(image.size) // self._min_side if self._min_side else 1
        return image.reduce(factor) if factor > 1 else image.copy()

    def _upright(self, image: Image.Image) -> Image.Image:
        try:
            ImageOps.exif_transpose(image, in_place=True)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001, S110 - damaged EXIF is common and harmless: the pixels are whole
            pass
        return image


@contextmanager
def opened_image(
    data: bytes,
    *,
    min_side: int | None = None,
    max_megabytes: float | None = None,
    max_megapixels: float | None = None,
    max_decode_megabytes: float | None = None,
    name: str | None = None,
) -> Iterator[OpenedImage]:
    """Reads the header and checks every limit, by default the environment's.

    In the block, too, all errors are `ImageError`s or `MemoryError`. A file's name tells of a kind that is not read.
    """
    limits = _limits(max_megabytes, max_megapixels)
    memory = max_decode_megabytes or limits.decode_megabytes
    if len(data) > limits.megabytes * 1e6:
        got = len(data) / 1e6
        raise ImageTooManyBytes(f"The image has {got:.1f} MB; at most {limits.megabytes:g} MB are allowed.")
    if not data:
        raise ImageUnreadable(f"The image is empty (0 bytes); a {ALLOWED} file is expected.")
    _lift_ceiling(limits.megapixels)
    with _translated(data, name):
        if size := webp_size(data):  # Pillow already allocates the whole picture when it opens one
            check_pixels(size, limits.megapixels)
            yield OpenedImage(data, _open, webp_cost(size, data, memory), min_side)
        elif (layout := tiff_layout(data)) and _is_read_apart(layout, name):
            check_pixels(layout.size, limits.megapixels)
            yield OpenedImage(data, partial(read_samples, layout=layout), samples_cost(layout, data, memory), min_side)
        else:
            data, image = _opened_somehow(without_texts(data))
            with image:
                full = image.size
                check_pixels(full, limits.megapixels)
                opened = partial(_drafted, min_side=min_side)
                first = _drafted(image, min_side)
                cost = decoding_cost(first, data, full, memory)
                yield OpenedImage(data, lambda again: first if again is data else opened(_open(again)), cost, min_side)


def _limits(megabytes: float | None, megapixels: float | None) -> ImageLimits:
    if megabytes is not None and megapixels is not None:
        return ImageLimits(megabytes, megapixels)
    usual = image_limits()
    return ImageLimits(megabytes or usual.megabytes, megapixels or usual.megapixels)


def _lift_ceiling(megapixels: float) -> None:
    """Pillow has a limit of its own, 178 megapixels; here the size is checked before anything is decoded."""
    if Image.MAX_IMAGE_PIXELS is not None and megapixels * 1e6 > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = None


def _is_read_apart(layout: TiffLayout, name: str | None) -> bool:
    if layout.is_preview or (name and is_raw(name)):
        raise NotAnImage(f"It is a camera's raw file, which is not read: {EXPORT}.")
    if layout.is_subsampled or (layout.is_unusual and not layout.is_readable):
        raise ImageUnreadable(f"The TIFF is of a kind that is not read ({layout}); {EXPORT}.")
    return layout.is_unusual


def _opened_somehow(data: bytes) -> tuple[bytes, Image.Image]:
    """The header, if need be of the same picture without its metadata."""
    try:
        return data, _open(data)
    except MemoryError:
        raise
    except Exception:
        less = without_metadata(data)
        if less is None:
            raise
        try:
            return less, _open(less)
        except UnidentifiedImageError:
            pass
        raise


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=plugins(data))


def _drafted(image: Image.Image, min_side: int | None) -> Image.Image:
    if min_side is not None and image.format in {"JPEG", "MPO"}:
        image.draft(None, (min_side, min_side))  # the smallest scale with both sides at least this long
    return image


def read_image(
    source: bytes | Path | RemoteFile,
    *,
    min_side: int | None = None,
    max_megabytes: float | None = None,
    max_megapixels: float | None = None,
    name: str | None = None,
) -> Image.Image:
    """Decode the first frame, upright, as RGB in sRGB; transparent pixels are blended with white.

    A JPEG is decoded at the smallest DCT scale (1/8, 1/4, 1/2) at which both sides still have at least
    `min_side` pixels; None decodes it at full size. Whatever the bytes are, the only errors raised are `ImageError`s.
    """
    limits = _limits(max_megabytes, max_megapixels)
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, RemoteFile):
        data = source.read(int(limits.megabytes * 1e6))
    else:
        data = read_bytes(source, max_megabytes=limits.megabytes)
    name = name or (None if isinstance(source, bytes) else source.name)
    options = {"max_megabytes": limits.megabytes, "max_megapixels": limits.megapixels}
    try:
        with (
            opened_image(data, min_side=min_side, name=name, **options) as image,
            decoding_memory(limits).held(image.cost.held_bytes),
        ):
            return image.decode()
    except MemoryError as e:
        raise ImageTooComplex("This machine's memory does not suffice to decode the image.") from e


@lru_cache(maxsize=4)
def decoding_memory(limits: ImageLimits) -> DecodingMemory:
    """All threads of a command share it."""
    return DecodingMemory(int(decode_megabytes(limits.megapixels) * 1e6))


def from_pillow(image: Image.Image) -> Image.Image:
    """An image that a program has opened or made, as `read_image` gives those that it reads; `image` stays as it is.

    The only errors raised are `ImageError`s.
    """
    with _translated(b"", None):
        check_pixels(image.size, image_limits().megapixels)
        return OpenedImage(b"", lambda _: _with_pixels(image), Cost(0, slow=False), None).decode()


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
            return begins_like_image(file.read(16))
    except OSError:
        return False


def content_sha256(data: bytes) -> str:
    """The sha256 of an image file's bytes in hex: what the same file is recognised by, whatever its name."""
    return hashlib.sha256(data).hexdigest()


def read_bytes(path: Path, *, max_megabytes: float | None = None) -> bytes:
    """A regular file's bytes. Raises an `ImageError` for anything else, and for a file above the limit."""
    max_megabytes = max_megabytes or image_limits().megabytes
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


def _webp_is_short(data: bytes) -> bool:
    return is_webp(data) and int.from_bytes(data[4:8], "little") + 8 > len(data)


@contextmanager
def _translated(data: bytes, name: str | None) -> Iterator[None]:
    """Turns what Pillow raises (OSError, ValueError, SyntaxError, struct.error and more) into an `ImageError`."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as e:
        raise not_opened(data, name) from e
    except Exception as e:
        if "truncated" in str(e).lower() or _webp_is_short(data):
            raise ImageTruncated(TRUNCATED) from e
        raise not_understood(str(e)) from e
