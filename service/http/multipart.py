"""A multipart body -> its parts. A body that is cut off or malformed is an error, never half an upload.

PyPI's `multipart` parses, in time linear in the body. Its strict mode stays off: version 2.0 then refuses an
honest body whose last line break arrives in a chunk of its own. What matters of that mode is checked here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from handful.service.http.errors import FieldUnexpected, ImageMissing, MultipartBroken, TooManyImages
from handful.service.http.filenames import quoted
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

MAX_CONTENT_TYPE = 1000  # characters; browsers and curl send about 70
MAX_BOUNDARY = 70  # characters; RFC 2046
MAX_HEADER_BYTES = 2048  # per header of a part; browsers and curl send about 100, and 800 at most for a filename
MAX_HEADERS = 8  # per part; RFC 7578 knows three
CHUNK_BYTES = 1 << 16
PLAIN_ENCODINGS = frozenset({"binary", "8bit", "7bit"})


class Part(NamedTuple):
    """One part of a multipart body. Without a filename it is text."""

    name: str
    filename: str | None
    data: bytes


class PartHead(NamedTuple):
    """What precedes a part's data."""

    name: str
    filename: str | None


def media_type(content_type: str) -> str:
    """The Content-Type without its options, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def parse_multipart(content_type: str, body: bytearray, *, fields: Collection[str], max_parts: int) -> list[Part]:
    """At least one part; raises `ImageMissing`, `FieldUnexpected`, `MultipartBroken` or `TooManyImages`."""
    parts: list[tuple[PartHead, list[bytes]]] = []
    for event in read_parts(content_type, _chunks(body), fields, max_parts):
        if isinstance(event, PartHead):
            parts.append((event, []))
        else:
            parts[-1][1].append(event)
    if not parts:
        raise ImageMissing("The multipart body has no parts; an image is expected.")
    return [Part(*head, _join(pieces)) for head, pieces in parts]


def read_parts(
    content_type: str, chunks: Iterable[bytes], fields: Collection[str], max_parts: int
) -> Iterator[PartHead | bytes]:
    """Each part's head, followed by its data in pieces.

    Raises `FieldUnexpected` for a part that is none of `fields`, `MultipartBroken` or `TooManyImages`.
    """
    parser = PushMultipartParser(
        _boundary(content_type),
        max_header_size=MAX_HEADER_BYTES,
        max_header_count=MAX_HEADERS,
        header_charset="latin-1",  # old clients send filenames in the encoding of their system
    )
    parts = 0
    for event in _events(parser, chunks):
        if isinstance(event, bytes):
            yield event
            continue
        head = _head(event)
        if head.name not in fields:
            allowed = " and ".join(map(repr, fields))
            raise FieldUnexpected(f"There is a field {quoted(head.name)}; only {allowed} is allowed.")
        parts += 1
        if parts > max_parts:
            raise TooManyImages(f"The body has more than {max_parts} parts; at most {max_parts} are allowed here.")
        yield head


def _events(parser: PushMultipartParser, chunks: Iterable[bytes]) -> Iterator[MultipartSegment | bytes]:
    try:
        for chunk in chunks:
            yield from filter(None, parser.parse(chunk))  # None marks the end of a part
        parser.close()
    except MultipartError as e:
        raise MultipartBroken(f"The multipart body is malformed or cut off: {e}.") from e


def _head(segment: MultipartSegment) -> PartHead:
    if not segment.name:
        raise MultipartBroken("A part has no name in its Content-Disposition; the name of a field is expected.")
    encoding = segment.header("Content-Transfer-Encoding", "binary").strip().lower()
    if encoding not in PLAIN_ENCODINGS:
        raise MultipartBroken("A part has a Content-Transfer-Encoding; files are accepted only as they are.")
    if segment.filename is None and _is_file(segment):
        return PartHead(segment.name, "")
    return PartHead(segment.name, segment.filename)


def _is_file(segment: MultipartSegment) -> bool:
    """Old versions of urllib3 name a file only in the form of RFC 5987; other clients give an image no name."""
    kind = media_type(segment.header("Content-Type", ""))
    return "filename*=" in segment.header("Content-Disposition") or kind.startswith("image/")


def _boundary(content_type: str) -> str:
    if len(content_type) > MAX_CONTENT_TYPE:
        raise MultipartBroken(
            f"The Content-Type has {len(content_type)} characters; at most {MAX_CONTENT_TYPE} are allowed."
        )
    boundary: str = parse_options_header(content_type)[1].get("boundary", "")
    if not 1 <= len(boundary) <= MAX_BOUNDARY or not boundary.isascii():
        raise MultipartBroken(f"The Content-Type has no boundary of 1 to {MAX_BOUNDARY} ASCII characters.")
    return boundary


def _chunks(body: bytearray) -> Iterator[bytes]:
    with memoryview(body) as view:
        for start in range(0, len(view), CHUNK_BYTES):
            yield bytes(view[start : start + CHUNK_BYTES])


def _join(pieces: list[bytes]) -> bytes:
    """Frees the pieces, so that the body is in memory twice and not three times."""
    data = b"".join(pieces)
    pieces.clear()
    return data
