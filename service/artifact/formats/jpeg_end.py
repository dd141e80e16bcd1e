"""JPEGs without an end marker: whether only the marker is missing, or also a part of the picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache

from PIL import Image

END = b"\xff\xd9"
_MOST_ZEROS = 3
_BAND_PIXELS = 1 << 18


def whole_without_end(data: bytes, open_image: Callable[[bytes], Image.Image]) -> Image.Image | None:
    """The decoded picture if no row is missing; None if the file was cut off before. `open_image` may fail."""
    written = data.rstrip(b"\0")  # many zeros were never written, a few may be the picture's
    if not _scans_are_complete(written):
        return None
    ends = [written if len(data) - len(written) > _MOST_ZEROS else data]
    if written.endswith(b"\xff"):  # half of the end marker, or a byte of the picture, which a zero follows
        ends = [written[:-1], written + b"\0"]
    return next(filter(None, (_decoded_if_whole(each, open_image) for each in ends)), None)


def _decoded_if_whole(data: bytes, open_image: Callable[[bytes], Image.Image]) -> Image.Image | None:
    image = open_image(data + END)
    image.load()
    restarts = _restarts(data)
    others = (data + noise + b"".join(restart + noise[:500] for restart in restarts) + END for noise in _fillers())
    return image if all(_same(image, open_image(other)) for other in others) else None


@cache
def _fillers() -> tuple[bytes, bytes]:
    """Two strings of noise, each bit of one the opposite of the other's.

    libjpeg shows a missing part as grey, or decodes whatever follows the data. So where something is missing, at least
    one of the two changes the picture; where nothing is missing, neither is read.
    """
    noise = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(2000))
    filler = noise.translate(None, b"\0\xff")
    return filler, bytes(255 - byte for byte in filler)


def _restarts(data: bytes) -> list[bytes]:
    """The next restart markers, behind which a decoder goes on whatever came before."""
    last = max((data.rfind(bytes((0xFF, number))), number) for number in range(0xD0, 0xD8))
    following = last[1] - 0xD0 + 1 if last[0] >= 0 else 0
    return [bytes((0xFF, 0xD0 + (following + n) % 8)) for n in range(8)]


def seems_to_end(data: bytes) -> bool:
    """False for a JPEG with zeros in the place of its end, as a copy that was broken off leaves it."""
    return data[-1:] != b"\0" or data.rstrip(b"\0").endswith(END)


def _same(one: Image.Image, other: Image.Image) -> bool:
    other.load()
    width, height = one.size
    rows = max(1, _BAND_PIXELS // width)
    boxes = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    return one.size == other.size and all(one.crop(box).tobytes() == other.crop(box).tobytes() for box in boxes)


def _scans_are_complete(data: bytes) -> bool:
    """Whether the scans that begin in the file bring every component to its full precision."""
    components, left = 0, dict[tuple[int, int], int]()  # (component, frequency) -> missing bits
    for marker, body in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC} and len(body) > 5:
            components = body[5]
            left = {(body[6 + 3 * n], k): 99 for n in range(components) if 6 + 3 * n < len(body) for k in range(64)}
        elif marker == 0xDA and body and len(body) >= 4 + 2 * body[0]:
            first, last, bits = body[-3], body[-2], body[-1] & 15
            for n in range(body[0]):
                left |= {(body[1 + 2 * n], k): bits for k in range(first, last + 1)}
    return bool(left) and not any(left.values())


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    """(marker, body) of every segment, those between scans included; compressed data is passed over."""
    found: list[tuple[int, bytes]] = []
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker = data[position + 1]
        if marker in {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}:
            position += 1 if marker == 0xFF else 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        found.append((marker, data[position + 4 : end]))
        position = end
    return found
