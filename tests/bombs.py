"""Small files that take much time or memory to decode. They are made in place; none is larger than 400 KB."""

from __future__ import annotations

import io
import re
import struct
import zlib

from PIL import Image


def progressive_jpeg(scans: int, side: int = 4000) -> bytes:
    """A grey picture whose decoder passes over all pixels `scans` times; each costs some bytes and 15 ms at 4000."""
    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    starts = [match.start() for match in re.finditer(rb"\xff\xda", data)]
    last = data[starts[-1] : -2]  # one scan refines what is there, as often as one likes
    return data[:-2] + last * (scans - len(starts)) + b"\xff\xd9"


def run_length_bmp(width: int, height: int) -> bytes:
    """Runs of 255 pixels, which Pillow decodes in Python; the file ends long before the picture does."""
    palette = b"".join(bytes((n, n, n, 0)) for n in range(256))
    runs = b"\xff\x07" * 8 + b"\0\1"
    start = 14 + 40 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 256) + palette + runs


def png(width: int, height: int, depth: int = 16, colour: int = 0) -> bytes:
    """Black, and of 1 to 8 bytes per pixel: a thousandth of its pixels in bytes."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = b"\0" * (1 + (width * channels * depth + 7) // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    palette = _chunk(b"PLTE", b"\0\0\0") if colour == 3 else b""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + palette + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_with_texts(megabytes: int) -> bytes:
    """A pixel, and packed comments that Pillow unpacks before it decodes."""
    packed = zlib.compress(bytes(1_000_000), 9)
    texts = b"".join(_chunk(b"zTXt", b"%d\0\0" % number + packed) for number in range(megabytes))
    data = png(1, 1, depth=8)
    return data[:33] + texts + data[33:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def webp_canvas(width: int, height: int) -> bytes:
    """An animation of two small frames on a large canvas, which the decoder fills whole, several times."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    data = bytearray(file.getvalue())
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def flat_webp(width: int, height: int) -> bytes:
    """One grey picture without loss: 0.1 KB per megapixel at most."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(file, "WEBP", lossless=True, quality=0, method=0)
    return file.getvalue()


def tiled_tiff(side: int, tile: int, samples: int = 4) -> bytes:
    """A small picture in one tile that may be much larger."""
    bits = (258, 3, samples, 300) if samples > 1 else (258, 3, 1, 8)
    tags = [
        (256, 3, 1, side),
        (257, 3, 1, side),
        bits,
        (259, 3, 1, 8),  # Adobe's Deflate
        (262, 3, 1, 2 if samples > 1 else 1),
        (277, 3, 1, samples),
        (284, 3, 1, 1),
        (322, 4, 1, tile),
        (323, 4, 1, tile),
        (324, 4, 1, 400),
        (325, 4, 1, 725),
    ]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)  # little-endian, so a short is its own long
    head = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags)) + directory + struct.pack("<I", 0)
    body = head.ljust(300, b"\0") + struct.pack("<4H", 8, 8, 8, 8)
    return body.ljust(400, b"\0") + zlib.compress(bytes(500_000), 9).ljust(725, b"\0")
