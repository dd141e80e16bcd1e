"""TIFFs whose samples Pillow does not read, or reads wrongly: in separate planes, 16, 32 or 64 bits, signed, floats.

libtiff unpacks any of them if they are announced as a grey picture of single bytes; what the bytes mean is worked out
here.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from handful.service.artifact.errors import ImageUnreadable
from handful.service.artifact.formats.colours import bands_of, eight_bits
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
RAW_TAGS = (50706, 33421)  # DNGVersion, CFARepeatPatternDim
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _TURN = 254, 256, 257, 258, 259, 262, 273, 274
_SAMPLES, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _SUBFILES, _EXTRA, _FORMAT = 322, 323, 324, 325, 330, 338, 339
_FILL_ORDER, _PROFILE = 266, 34675
_WHITE_IS_ZERO, _RGB, _CMYK, _YCBCR = 0, 2, 5, 6
_COLOURS = {_WHITE_IS_ZERO: 1, 1: 1, _RGB: 3, _CMYK: 4}
_UNCOMPRESSED = 1
_LOSSLESS = (_UNCOMPRESSED, 5, 8, 32946, 32773, 34925, 50000)  # LZW, Deflate, PackBits, LZMA, Zstandard
_KINDS = {1: "u", 2: "i", 3: "f"}  # of numbers, by the tag SampleFormat
_ALPHA = (1, 2)  # extra samples: colours multiplied by it, or not


@dataclass(frozen=True)
class TiffLayout:
    """How the first picture of a TIFF lies in the file."""

    tags: Any  # Pillow's ImageFileDirectory_v2
    order: str  # of bytes: < or >

    def number(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        value = self.tags.get(tag, default)
        first = value[0] if isinstance(value, tuple) and value else value
        return int(first) if isinstance(first, int) else default

    def numbers(self, tag: int) -> tuple[int, ...]:
        value = self.tags.get(tag, ())
        return tuple(value) if isinstance(value, tuple) else (value,)

    @property
    def size(self) -> tuple[int, int]:
        return self.number(_WIDTH, 0), self.number(_HEIGHT, 0)

    @property
    def samples(self) -> int:
        return self.number(_SAMPLES, 1)

    @property
    def bits(self) -> int:
        """Per sample; 0 where they differ."""
        bits = self.numbers(_BITS) or (1,)
        return bits[0] if len(set(bits)) == 1 else 0

    @property
    def kind(self) -> str:
        """Of numbers: u, i or f; empty where the samples differ."""
        kinds = set(self.numbers(_FORMAT) or (1,))
        return _KINDS.get(kinds.pop(), "") if len(kinds) == 1 else ""

    @property
    def photometric(self) -> int:
        return self.number(_PHOTOMETRIC, 0)

    @property
    def colours(self) -> int:
        return _COLOURS.get(self.photometric, 0)

    @property
    def planes(self) -> int:
        """Pieces of the file that each hold the whole picture."""
        return self.samples if self.number(_PLANAR, 1) == 2 else 1

    @property
    def tile(self) -> tuple[int, int]:
        """Width and height of what is packed at once."""
        width, height = self.size
        tiled = _TILE_OFFSETS in self.tags
        return (
            self.number(_TILE_WIDTH, 0) if tiled else width,
            self.number(_TILE_HEIGHT, 0) if tiled else min(height, self.number(_ROWS, height)),
        )

    @property
    def stored_bytes(self) -> int:
        """Of one pixel."""
        return self.bits // 8 * self.samples

    @property
    def is_preview(self) -> bool:
        """Whether the file is a camera's raw file, whose first picture is a small preview or has no colours yet."""
        reduced = self.number(_SUBFILE, 0) & 1 and _SUBFILES in self.tags
        return bool(reduced) or any(tag in self.tags for tag in RAW_TAGS)

    @property
    def is_readable(self) -> bool:
        """Whether `read_samples` reads it."""
        return (
            self.kind != ""
            and self.bits in ((16, 32, 64) if self.kind == "f" else (8, 16, 32, 64))
            and self.samples >= self.colours > 0
            and self.number(_COMPRESSION, 1) in _LOSSLESS
            and self.number(_FILL_ORDER, 1) == 1
            and self.number(_PREDICTOR, 1) in {1, 2, 3}
            and all(self.tile)
        )

    @property
    def is_unusual(self) -> bool:
        """Whether Pillow does not read it, or reads it wrongly."""
        plain, extra = self.kind == "u", self.samples - self.colours
        if plain and self.bits == 8:
            return self.planes > 1 and extra > 0 and not self._has_alpha_only_over_colours
        if plain and self.bits == 16:
            known = extra == 0 or (extra == 1 and self.colours > 1)
            planar = self.planes > 1 and (self.number(_COMPRESSION, 1) == _UNCOMPRESSED or extra > 0)
            return self.photometric == _WHITE_IS_ZERO or not known or planar
        if self.kind == "f" and self.bits == 32 and self.samples == 1:
            swapped = self.order == ">" and self.number(_COMPRESSION, 1) != _UNCOMPRESSED
            return swapped or self.photometric == _WHITE_IS_ZERO
        return self.kind in {"i", "f"} or self.bits >= 16

    @property
    def is_subsampled(self) -> bool:
        """Uncompressed, with fewer colours than pixels, which Pillow takes for one colour per pixel."""
        width, height = self.size
        stored = sum(self.numbers(_COUNTS))
        return (
            self.photometric == _YCBCR
            and self.number(_COMPRESSION, 1) == _UNCOMPRESSED
            and 0 < stored < 3 * width * height
        )

    @property
    def _has_alpha_only_over_colours(self) -> bool:
        return self.colours > 1 and self.numbers(_EXTRA)[:1] in {(1,), (2,)}

    def __str__(self) -> str:
        kind = {"u": "unsigned", "i": "signed", "f": "floating-point"}.get(self.kind, "mixed")
        bits = "/".join(map(str, self.numbers(_BITS) or (1,)))
        planes = " in separate planes" if self.planes > 1 else ""
        return (
            f"{self.samples} {kind} samples of {bits} bits per pixel{planes}, photometric {self.photometric},"
            f" compression {self.number(_COMPRESSION, 1)}"
        )


def tiff_layout(data: bytes) -> TiffLayout | None:
    """None for other formats and damaged files."""
    if not data.startswith(SIGNATURES):
        return None
    try:
        file = io.BytesIO(data)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if b"+" in data[:4] else 8))
        file.seek(tags.next)
        tags.load(file)
        layout = TiffLayout(tags, "<" if data[:1] == b"I" else ">")
        return layout if all(layout.size) else None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever is in it: Pillow then says what is wrong
        return None


def read_samples(data: bytes, layout: TiffLayout) -> Image.Image:
    """The picture in 8 bits per sample, not yet turned upright. Raises `ImageUnreadable` for negative numbers."""
    width, height = layout.size
    planes = [_plane(data, layout, number) for number in range(layout.planes)]
    bands = [(top, bottom) for _, top, _, bottom in bands_of(layout.size)]
    highest = 0.0
    for band in bands:
        values = _values(planes, layout, band)[..., : layout.colours]
        if layout.kind == "i" and values.min(initial=0) < 0:
            raise ImageUnreadable("The TIFF holds negative numbers: it is a measurement, not a picture.")
        highest = max(highest, float(np.nan_to_num(values.astype(np.float64), posinf=0.0).max(initial=0.0)))
    has_alpha = layout.samples > layout.colours and layout.numbers(_EXTRA)[:1] in {(kind,) for kind in _ALPHA}
    mode = _mode(layout, has_alpha=has_alpha)
    picture = Image.new(mode, (width, height))
    for band in bands:
        values = _values(planes, layout, band)[..., : layout.colours + has_alpha]
        pixels = np.ascontiguousarray(_shades(values, layout, highest))
        rows = Image.frombytes(mode, (width, band[1] - band[0]), pixels.tobytes())
        picture.paste(rows, (0, band[0]))
    picture = picture.convert("RGBA") if mode == "RGBa" else picture
    if profile := layout.tags.get(_PROFILE):
        picture.info["icc_profile"] = profile
    picture.getexif()[_TURN] = layout.number(_TURN, 1)
    return picture


def _mode(layout: TiffLayout, *, has_alpha: bool) -> str:
    if not has_alpha or layout.colours == 4:
        return {1: "L", 3: "RGB", 4: "CMYK"}[layout.colours]
    multiplied = layout.numbers(_EXTRA)[0] == 1
    return ("La" if multiplied else "LA") if layout.colours == 1 else ("RGBa" if multiplied else "RGBA")


def _shades(values: NDArray[Any], layout: TiffLayout, highest: float) -> NDArray[np.uint8]:
    """(rows, width, samples) of any numbers -> bytes; the last sample may be the alpha channel."""
    numbers = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    full = 1.0 if layout.kind == "f" else 2.0 ** (layout.bits - (layout.kind == "i")) - 1
    shades = eight_bits(numbers, highest, scale=_scale(layout, highest, full))
    if layout.photometric == _WHITE_IS_ZERO:
        shades[..., :1] = 255 - shades[..., :1]
    if numbers.shape[-1] > layout.colours:
        shades[..., layout.colours] = eight_bits(numbers[..., layout.colours], highest, scale=255 / full)
    return shades if layout.colours < 4 else shades[..., :4]


def _scale(layout: TiffLayout, highest: float, full: float) -> float | None:
    """None: as `eight_bits` finds it. Whoever writes signed numbers seldom uses their whole range."""
    if layout.kind == "i":
        return 255 / highest if highest else 1.0
    known = highest <= 1.0 if layout.kind == "f" else layout.bits <= 16
    return 255 / full if known else None


def _values(planes: Sequence[NDArray[np.uint8]], layout: TiffLayout, band: tuple[int, int]) -> NDArray[Any]:
    """(rows, width, samples) of the file's numbers."""
    parts = [_numbers(plane[slice(*band)], layout, layout.samples // layout.planes) for plane in planes]
    return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


def _numbers(rows: NDArray[np.uint8], layout: TiffLayout, samples: int) -> NDArray[Any]:
    """(rows, bytes) -> (rows, width, samples), each packed piece's differences undone."""
    size = layout.bits // 8
    pieces = rows.reshape(len(rows), -1, layout.tile[0], samples, size)
    predictor = layout.number(_PREDICTOR, 1)
    if predictor == 3:
        pieces, order = _floats(pieces), ">"
    else:
        order = layout.order
    values = np.ascontiguousarray(pieces).view(f"{order}{layout.kind if predictor != 2 else 'u'}{size}")[..., 0]
    if predictor == 2:
        summed = np.cumsum(values, axis=2, dtype=f"u{size}")
        values = summed.view(f"{layout.kind}{size}")
    return values.reshape(len(rows), -1, samples)[:, : layout.size[0]]


def _floats(pieces: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Adobe's floating-point predictor: differences of bytes, the most significant bytes of a row first."""
    count, across, width, samples, size = pieces.shape
    summed = np.cumsum(pieces.reshape(count, across, -1, samples), axis=2, dtype=np.uint8)
    return summed.reshape(count, across, size, width, samples).transpose(0, 1, 3, 4, 2)


def _plane(data: bytes, layout: TiffLayout, number: int) -> NDArray[np.uint8]:
    """(height, bytes) as they are stored; tiles that reach over the right edge whole."""
    file = b"".join(_announced_as_bytes(data, layout, number))
    with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:
        image.load()
        return np.asarray(image)


def _announced_as_bytes(data: bytes, layout: TiffLayout, number: int) -> Iterator[bytes]:
    """The file with another directory: one grey byte per stored byte, of the plane with this number."""
    (width, height), (tile_width, tile_height) = layout.size, layout.tile
    pixel = layout.bits // 8 * (layout.samples // layout.planes)
    across = -(-width // tile_width)
    tiled = _TILE_OFFSETS in layout.tags
    tag_offsets, tag_counts = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_OFFSETS, _COUNTS)
    share = across * -(-height // tile_height)
    mine = slice(number * share, (number + 1) * share)
    entries = {
        _WIDTH: (across * tile_width * pixel,),
        _HEIGHT: (height,),
        _BITS: (8,),
        _COMPRESSION: (layout.number(_COMPRESSION, 1),),
        _PHOTOMETRIC: (1,),
        _SAMPLES: (1,),
        tag_offsets: layout.numbers(tag_offsets)[mine],
        tag_counts: layout.numbers(tag_counts)[mine] or (len(data),) * share,
        **({_TILE_WIDTH: (tile_width * pixel,), _TILE_HEIGHT: (tile_height,)} if tiled else {_ROWS: (tile_height,)}),
    }
    start = len(data) + len(data) % 2
    behind, lists = start + 2 + 12 * len(entries) + 4, b""
    yield b"II*\0" + struct.pack("<I", start) + data[8:] + b"\0" * (len(data) % 2) + struct.pack("<H", len(entries))
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, lists = struct.pack("<I", behind + len(lists)), lists + packed
        yield struct.pack("<HHI", tag, 4, len(values)) + packed
    yield b"\0\0\0\0" + lists
