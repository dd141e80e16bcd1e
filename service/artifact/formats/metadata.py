"""Encoded pictures without the metadata that does not matter: whatever is in it, it never refuses a photo."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))
_PNG_TURNING = (b"Raw profile type ", b"XML:com.adobe.xmp")  # texts that may hold an orientation
_PNG_ESSENTIAL = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_MOST_TEXTS = 3  # that may turn the picture: one of each kind
_MAX_TEXT_BYTES = 1_000_000  # of a text that may turn the picture; Pillow refuses longer ones
_JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
_JPEG_ADOBE, _JPEG_EXIF, _JPEG_COMMENT, _JPEG_SCAN = 0xEE, 0xE1, 0xFE, 0xDA
_EXIF_ENTRY = re.compile(rb"(infe.{8})Exif", re.DOTALL)  # how a HEIF or AVIF announces it


def without_texts(data: bytes) -> bytes:
    """A PNG without its comments, which Pillow would unpack, and without optional parts that are damaged."""
    if not data.startswith(PNG_HEAD):
        return data
    chunks = list(_png_chunks(data))
    kept = [chunk for chunk in chunks if _png_chunk_is_kept(chunk)]
    texts = [chunk for chunk in kept if bytes(chunk[4:8]) in _PNG_TEXTS]
    kept = [chunk for chunk in kept if chunk not in texts[_MOST_TEXTS:]] if len(texts) > _MOST_TEXTS else kept
    return data if len(kept) == len(chunks) else PNG_HEAD + b"".join(kept)


def without_metadata(data: bytes) -> bytes | None:
    """The same picture in a file with nothing but what decoding needs; None for other formats and if all is needed."""
    if data.startswith(PNG_HEAD):
        less = PNG_HEAD + b"".join(chunk for chunk in _png_chunks(data) if bytes(chunk[4:8]) in _PNG_ESSENTIAL)
    elif data.startswith(b"\xff\xd8\xff"):
        less = b"\xff\xd8" + b"".join(_jpeg_segments(data))
    elif data[4:8] == b"ftyp":
        less = _EXIF_ENTRY.sub(rb"\1Xxif", data[:1_000_000]) + data[1_000_000:]
    else:
        return None
    return less if less != data else None


def _png_chunks(data: bytes) -> Iterator[memoryview]:
    """Whole chunks; the last one is whatever is left where the file is cut off."""
    view, position = memoryview(data), len(PNG_HEAD)
    while position < len(data):
        end = position + 12 + int.from_bytes(view[position : position + 4])
        yield view[position:end]
        position = end


def _png_chunk_is_kept(chunk: memoryview) -> bool:
    kind = bytes(chunk[4:8])
    if kind in _PNG_ESSENTIAL or len(kind) < 4 or not kind[0] & 0x20:
        return True
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
        return False
    return kind not in _PNG_TEXTS or _may_turn(bytes(chunk[8:-4]))


def _may_turn(text: bytes) -> bool:
    return text.startswith(_PNG_TURNING) and len(text) <= _MAX_TEXT_BYTES and not _unpacks_to_much(text)


def _unpacks_to_much(text: bytes) -> bool:
    start = text.find(b"\x78")  # where packed bytes begin, if any are
    if start < 0:
        return False
    unpacker = zlib.decompressobj()
    try:
        return len(unpacker.decompress(text[start:], _MAX_TEXT_BYTES)) >= _MAX_TEXT_BYTES
    except zlib.error:
        return False


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    """All from the second segment on, apart from comments and what applications add but Exif and Adobe's colours."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _JPEG_ALONE or marker == 0xFF:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _JPEG_SCAN:
            break
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if _jpeg_segment_is_kept(marker, data[position + 4 : position + 8]):
            yield data[position:end]
        position = end
    yield data[position:]


def _jpeg_segment_is_kept(marker: int, head: bytes) -> bool:
    if marker == _JPEG_EXIF:
        return head == b"Exif"
    return marker == _JPEG_ADOBE or not (0xE0 <= marker <= 0xEF or marker == _JPEG_COMMENT)
