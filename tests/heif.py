"""HEIC files as phones write them, a grid of tiles, made around one tile of 64 pixels that was encoded once."""

from __future__ import annotations

import base64
import struct

SIDE = 64
# A drawing: red on the left, blue on the right, darker downwards. Its decoder's settings, then its pixels.
_SETTINGS = base64.b64decode(
    "AAAAeGh2Y0MBA3AAAACQAAAAAAAe8AD8/fj4AAAPA2AAAQAYQAEMAf//A3AAAAMAkAAAAwAAAwAeugJAYQABACtCAQEDcAAAAwCQAAADAAADAB6gIIEF"
    "lupJKa5uAhoMCAAAAwDIAAADAAhAYgABAAdEAcFysCJA"
)
_TILE = base64.b64decode(
    "AAAApygBrw7g6N4kO/jQ9ZgAP/BaogzMYnJcGYizsalHUsO/XH0V4pUds/pmxsbMAloIMqlz90KRM6HSWLNxZUllMFVJWpS4UQ4L+AQ/dUz2ZWiA8GK3"
    "4YHjtBKhHZBeAr7yGbEMcnpTDCzOgZn1xZPGu3fhTHJqEwsx2iIahPTRHROxn8H9TD/9RopbXGKspJe03DWOHNGzq1rigismGKno0pnirOriZ1xf"
)


def heic(
    across: int = 1,
    down: int = 1,
    *,
    turns: int = 0,
    brand: bytes = b"heic",
    colour_numbers: tuple[int, int] = (1, 13),
    profile: bytes | None = None,
    exif: bytes = b"",
    tile_size: tuple[int, int] = (SIDE, SIDE),
    hidden: bool = True,
) -> bytes:
    """`across` x `down` tiles, turned to the left so many quarters; every tile is the same piece of the file.

    `tile_size` is what the header says of a tile. `exif` is the block without any head. Without `hidden`, every tile is
    a picture of its own beside the grid, as in a burst.
    """
    count = across * down
    grid, note = count + 1, count + 2
    colour = b"prof" + profile if profile else b"nclx" + struct.pack(">HHHB", *colour_numbers, 6, 0x80)
    whole = (across * SIDE, down * SIDE)
    properties = [_SETTINGS, _full(b"ispe", struct.pack(">II", *tile_size)), _full(b"ispe", struct.pack(">II", *whole))]
    properties += [_box(b"colr", colour), _box(b"irot", bytes((turns,)))]
    described = [(item, (0x81, 2)) for item in range(1, grid)] + [(grid, (3, 4, 0x85))]
    linked = b"".join(struct.pack(">HB", item, len(numbers)) + bytes(numbers) for item, numbers in described)
    items = [_entry(item, b"hvc1", int(hidden)) for item in range(1, grid)] + [_entry(grid, b"grid")]
    references = _box(b"dimg", struct.pack(">HH", grid, count) + struct.pack(f">{count}H", *range(1, grid)))
    if exif:
        items += [_entry(note, b"Exif")]
        references += _box(b"cdsc", struct.pack(">HHH", note, 1, grid))
    layout = struct.pack(">BBBBHH", 0, 0, down - 1, across - 1, *whole) if max(whole) < 65536 else (
        struct.pack(">BBBBII", 0, 1, down - 1, across - 1, *whole)
    )  # fmt: skip
    notes = struct.pack(">I", 0) + exif if exif else b""

    def meta(start: int) -> bytes:
        places = [(item, start, len(_TILE)) for item in range(1, grid)]
        places += [(grid, start + len(_TILE), len(layout))]
        places += [(note, start + len(_TILE) + len(layout), len(notes))] if exif else []
        extents = b"".join(struct.pack(">HHHII", item, 0, 1, *place) for item, *place in places)
        parts = [
            _full(b"hdlr", b"\0\0\0\0pict" + b"\0" * 13),
            _full(b"pitm", struct.pack(">H", grid)),
            _full(b"iinf", struct.pack(">H", len(items)) + b"".join(items)),
            _full(b"iref", references),
            _box(b"iprp", _box(b"ipco", b"".join(properties)) + _full(b"ipma", struct.pack(">I", grid) + linked)),
            _full(b"iloc", b"\x44\0" + struct.pack(">H", len(places)) + extents),
        ]
        return _full(b"meta", b"".join(parts))

    head = _box(b"ftyp", brand + b"\0\0\0\0mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + _box(b"mdat", _TILE + layout + notes)


def _entry(item: int, kind: bytes, flags: int = 0) -> bytes:
    return _full(b"infe", struct.pack(">HH", item, 0) + kind + b"\0", version=2, flags=flags)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full(kind: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, bytes((version, 0, 0, flags)) + body)
