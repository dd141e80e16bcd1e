"""Colours that a file names by number (ITU-T H.273: HEIF, AVIF, PNG) -> an ICC profile of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache

# Red, green and blue as XYZ under D50, the light of ICC profiles (Bradford adaptation from D65).
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
BT_2020 = ((0.67348, 0.27904, -0.00194), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79686))
_BY_NUMBER = {9: BT_2020, 12: DISPLAY_P3}
_USUAL_TRANSFERS = (1, 6, 13, 14, 15)  # sRGB's curve and those that screens show like it; the others are for HDR
_D50 = (0.9642, 1.0, 0.8249)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1, as ICC's parametric curve 3
_HEAD_BYTES = 1_000_000  # where a file says it

Primaries = Sequence[Sequence[float]]


def numbered_profile(data: bytes) -> bytes | None:
    """The profile of colours that an AVIF, HEIF or PNG names by numbers; None for sRGB's and HDR's."""
    if data[4:8] == b"ftyp" and (start := data.find(b"colrnclx", 0, _HEAD_BYTES)) >= 0:
        numbers = struct.unpack(">HH", data[start + 8 : start + 12].ljust(4, b"\0"))
    elif data.startswith(b"\x89PNG") and (start := data.find(b"\0\0\0\4cICP", 0, _HEAD_BYTES)) >= 0:
        numbers = struct.unpack("BB", data[start + 8 : start + 10].ljust(2, b"\0"))
    else:
        return None
    primaries, transfer = numbers
    if primaries not in _BY_NUMBER or transfer not in _USUAL_TRANSFERS:
        return None
    return matrix_profile(_BY_NUMBER[primaries])


@cache
def matrix_profile(primaries: Primaries) -> bytes:
    """An ICC profile of a screen with these primaries (D50 XYZ) and sRGB's curve."""
    curve = b"para" + struct.pack(">IHH", 0, 3, 0) + _fixed(_SRGB_CURVE)
    name = "screen".encode("utf-16-be")
    text = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(name), 28) + name
    parts = [(b"desc", text), (b"cprt", text), (b"wtpt", _xyz(_D50))]
    parts += [(tag + b"XYZ", _xyz(values)) for tag, values in zip((b"r", b"g", b"b"), primaries, strict=True)]
    parts += [(tag + b"TRC", curve) for tag in (b"r", b"g", b"b")]
    start, table, body = 128 + 4 + 12 * len(parts), struct.pack(">I", len(parts)), b""
    for tag, content in parts:
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    head = struct.pack(
        ">I4sI4s4s4s12s4s4sI4sIQI",
        start + len(body), b"\0" * 4, 0x04200000, b"mntr", b"RGB ", b"XYZ ", struct.pack(">6H", 2026, 1, 1, 0, 0, 0),
        b"acsp", b"\0" * 4, 0, b"\0" * 4, 0, 0, 1,
    )  # fmt: skip
    return (head + _fixed(_D50)).ljust(128, b"\0") + table + body


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _fixed(values: Sequence[float]) -> bytes:
    """ICC's s15Fixed16Number."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
