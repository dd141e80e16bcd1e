"""TIFFs as instruments and scanners write them and Pillow does not: any numbers, planes, tiles and orders."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


def tiff(
    samples: NDArray[Any],
    *,
    photometric: int,
    planar: bool = False,
    order: Literal["<", ">"] = "<",
    packed: bool = False,
    predictor: bool = False,
    rows: int | None = None,
    tile: int | None = None,
    extra: tuple[int, ...] = (),
    more: dict[int, tuple[int, ...] | bytes] | None = None,
) -> bytes:
    """(height, width, samples) of any type. `rows` per strip; `tile` pixels square, a multiple of 16.

    `packed` is Deflate, with or without its horizontal predictor. `more` are further tags: numbers or
    bytes.
    """
    height, width, count = samples.shape
    swapped = samples.astype(samples.dtype.newbyteorder(order))
    planes = [swapped[..., n : n + 1] for n in range(count)] if planar else [swapped]
    pieces = [piece for plane in planes for piece in _cut(plane, tile or width, tile or rows or height, bool(tile))]
    stored = [_packed(_differences(piece) if predictor else piece) if packed else piece.tobytes() for piece in pieces]
    bits = samples.dtype.itemsize * 8
    tags: dict[int, tuple[int, ...] | bytes] = {
        256: (width,),
        257: (height,),
        258: (bits,) * count,
        259: (8 if packed else 1,),
        262: (photometric,),
        277: (count,),
        284: (2 if planar else 1,),
        339: ({"u": 1, "i": 2, "f": 3}[samples.dtype.kind],) * count,
        **({317: (2,)} if predictor else {}),
        **({322: (tile,), 323: (tile,)} if tile else {278: (rows or height,)}),
        **({338: extra} if extra else {}),
    }
    places = [8 + sum(map(len, stored[:n])) for n in range(len(stored))]
    tags |= {324 if tile else 273: tuple(places), 325 if tile else 279: tuple(map(len, stored)), **(more or {})}
    body = b"".join(stored)
    return _file(body + b"\0" * (len(body) % 2), tags, order)


def _cut(plane: NDArray[Any], width: int, height: int, filled: bool) -> list[NDArray[Any]]:
    if filled:
        ends = [(0, -plane.shape[0] % height), (0, -plane.shape[1] % width), (0, 0)]
        plane = np.pad(plane, ends)
    tops, lefts = range(0, plane.shape[0], height), range(0, plane.shape[1], width)
    return [np.ascontiguousarray(plane[y : y + height, x : x + width]) for y in tops for x in lefts]


def _differences(piece: NDArray[Any]) -> NDArray[Any]:
    whole = piece.astype(piece.dtype.newbyteorder("="))
    before = np.pad(whole, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    differences: NDArray[Any] = (whole - before).astype(piece.dtype)
    return differences


def _packed(piece: NDArray[Any]) -> bytes:
    return zlib.compress(piece.tobytes())


def _file(body: bytes, tags: dict[int, tuple[int, ...] | bytes], order: str) -> bytes:
    start = 8 + len(body)
    behind, directory, lists = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, values in sorted(tags.items()):
        raw = isinstance(values, bytes)
        content = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}I", *values)
        if len(content) > 4:
            content, lists = struct.pack(f"{order}I", behind + len(lists)), lists + content
        directory += struct.pack(f"{order}HHI", tag, 7 if raw else 4, len(values)) + content
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + body + struct.pack(f"{order}H", len(tags)) + directory + b"\0" * 4 + lists
