"""A multipart body -> its parts; one that is not whole and well-formed is an error, never half an upload."""

from __future__ import annotations

import mmap
from email.message import Message
from email.parser import HeaderParser
from typing import NamedTuple

from handful.service.http.errors import ImageMissing, MultipartBroken, TooManyImages

HEADER_BYTES = 8192  # of one part; browsers and curl send some 150


class Part(NamedTuple):
    """One part of a multipart body; without a filename it is text."""

    name: str
    filename: str | None
    data: bytes


class Span(NamedTuple):
    """Where in the body a part's data lies."""

    name: str
    filename: str | None
    begin: int
    end: int


def parse_multipart(content_type: str, body: bytearray, *, most_parts: int) -> list[Part]:
    """At least one part; a body that is not whole and well-formed is `MultipartBroken`."""
    spans = multipart_spans(content_type, body, most_parts)
    if not spans:
        raise ImageMissing("The multipart body has no parts; an image is expected.")
    return [Part(span.name, span.filename, bytes(body[span.begin : span.end])) for span in spans]


def multipart_spans(content_type: str, body: bytearray | mmap.mmap, most_parts: int) -> list[Span]:
    """Where each part's data lies; nothing is copied."""
    delimiter = b"\r\n--" + _boundary(content_type)
    length = len(delimiter)
    start = 0 if body[: length - 2] == delimiter[2:] else body.find(delimiter) + 2
    if start == 1:
        raise MultipartBroken("The boundary that the Content-Type names is nowhere in the body.")
    spans: list[Span] = []
    position = start + length - 2  # right after a boundary
    while body[position : position + 2] != b"--":
        if len(spans) == most_parts:
            raise TooManyImages(f"There are more than {most_parts} parts; at most {most_parts} are allowed here.")
        begin = _line_end(body, position)
        end = body.find(delimiter, begin - 2)  # a part may be empty: its boundary follows at once
        if end < 0:
            raise MultipartBroken("The multipart body ends before its last boundary.")
        spans.append(_span(body, begin, end))
        position = end + length
    return spans


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise MultipartBroken("The Content-Type names no boundary of 1 to 70 ASCII characters.")
    return boundary.encode("ascii")


def _line_end(body: bytearray | mmap.mmap, position: int) -> int:
    """Where the line after a boundary begins; only blanks may stand between."""
    end = body.find(b"\r\n", position, position + 100)
    if end < 0 or body[position:end].strip(b" \t"):
        raise MultipartBroken("A boundary is not followed by the end of its line.")
    return end + 2


def _span(body: bytearray | mmap.mmap, begin: int, end: int) -> Span:
    blank = body.find(b"\r\n\r\n", begin - 2, min(end, begin + HEADER_BYTES))
    if blank < 0:
        raise MultipartBroken(f"A part's headers do not end, or have more than {HEADER_BYTES} bytes.")
    headers = HeaderParser().parsestr(body[begin:blank].decode("latin-1"))
    if headers.get("content-transfer-encoding", "binary").strip().lower() not in {"binary", "8bit", "7bit"}:
        raise MultipartBroken("A part has a Content-Transfer-Encoding; files are accepted as they are.")
    name = headers.get_param("name", header="content-disposition")
    if headers.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise MultipartBroken("A part has no `Content-Disposition: form-data` with a name.")
    return Span(name, headers.get_filename(), blank + 4, end)
