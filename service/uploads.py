"""A request's body -> the encoded images in it. Every limit on a body is checked here, by counting.

Nothing is decoded here, nothing is fetched, nothing touches the disk.
"""

from __future__ import annotations

import asyncio
from email.message import Message
from email.parser import HeaderParser
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import Receive

from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    FieldNotAFile,
    FieldUnexpected,
    ImageMissing,
    MediaTypeUnsupported,
    MultipartBroken,
    TooManyImages,
)
from service.room import Lease

HEADER_BYTES = 8192  # of one part; browsers and curl send some 150
OVERHEAD_BYTES = 1024  # boundaries and headers, a part: they count neither as image nor against it
DISCARDED = 8  # times the limit is read and thrown away, so that an honest client reads the 413


class Part(NamedTuple):
    """One part of a multipart body; without a filename it is text."""

    name: str
    filename: str | None
    data: bytes


async def read_body(headers: Headers, receive: Receive, limit_bytes: int, seconds: float, lease: Lease) -> bytearray:
    """The whole body, counted as it arrives; the lease holds as many bytes as are in memory."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaTypeUnsupported("The body is compressed; images are accepted as they are (no Content-Encoding).")
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes and "expect" in headers:
        raise _too_large(limit_bytes)  # the client is still waiting to be asked for the body
    try:
        async with asyncio.timeout(seconds):
            return await _receive(receive, limit_bytes, lease)
    except TimeoutError as e:
        raise BodyTooSlow(f"The body has not arrived within {seconds:g} seconds.") from e


async def _receive(receive: Receive, limit_bytes: int, lease: Lease) -> bytearray:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client went away before its body was whole.")
        chunk = message.get("body", b"")
        if len(body) + len(chunk) > limit_bytes:
            await _discard(receive, DISCARDED * limit_bytes)
            raise _too_large(limit_bytes)
        lease.take(len(chunk))
        body += chunk
        if not message.get("more_body"):
            return body


async def _discard(receive: Receive, most_bytes: int) -> None:
    seen, more = 0, True
    while more and seen < most_bytes:
        message = await receive()
        seen += len(message.get("body", b""))
        more = message.get("more_body", False)


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is too large; at most {limit_bytes / 1e6:.1f} MB are allowed here.")


def single_image(content_type: str, body: bytearray) -> bytes:
    """From a multipart field `image`, or the body itself where its type is an image's."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("image/"):
        return bytes(body)
    images = multipart_images(content_type, body, field="image", most=1)
    return images[0]


def multipart_images(content_type: str, body: bytearray, *, field: str, most: int) -> list[bytes]:
    """The files of the one field that is known, in order; at least one, at most `most`."""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        also = " or image/*" if field == "image" else ""
        raise MediaTypeUnsupported(f"The Content-Type is {_short(content_type)}; multipart/form-data{also} is allowed.")
    parts = parse_multipart(content_type, body, most_parts=most)
    return [_file(part, field) for part in parts]


def _file(part: Part, field: str) -> bytes:
    if part.name != field:
        raise FieldUnexpected(f"There is a field {_short(part.name)}; only {field!r} is allowed.")
    if part.filename is None:
        raise FieldNotAFile(f"The field {field!r} is text; a file is expected (nothing is fetched from a URL).")
    if not part.filename and not part.data:
        raise ImageMissing(f"The field {field!r} has no file in it.")
    return part.data


def parse_multipart(content_type: str, body: bytearray, *, most_parts: int) -> list[Part]:
    """At least one part; a body that is not whole and well-formed is `MultipartBroken`."""
    delimiter = b"\r\n--" + _boundary(content_type)
    start = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if start == 1:
        raise MultipartBroken("The boundary that the Content-Type names is nowhere in the body.")
    parts: list[Part] = []
    position = start + len(delimiter) - 2  # right after a boundary
    while not body.startswith(b"--", position):
        if len(parts) == most_parts:
            raise TooManyImages(f"There are more than {most_parts} parts; at most {most_parts} are allowed here.")
        begin = _line_end(body, position)
        end = body.find(delimiter, begin - 2)  # a part may be empty: its boundary follows at once
        if end < 0:
            raise MultipartBroken("The multipart body ends before its last boundary.")
        parts.append(_part(body, begin, end))
        position = end + len(delimiter)
    if not parts:
        raise ImageMissing("The multipart body has no parts; an image is expected.")
    return parts


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise MultipartBroken("The Content-Type names no boundary of 1 to 70 ASCII characters.")
    return boundary.encode("ascii")


def _line_end(body: bytearray, position: int) -> int:
    """Where the line after a boundary begins; only blanks may stand between."""
    end = body.find(b"\r\n", position, position + 100)
    if end < 0 or body[position:end].strip(b" \t"):
        raise MultipartBroken("A boundary is not followed by the end of its line.")
    return end + 2


def _part(body: bytearray, begin: int, end: int) -> Part:
    blank = body.find(b"\r\n\r\n", begin - 2, min(end, begin + HEADER_BYTES))
    if blank < 0:
        raise MultipartBroken(f"A part's headers do not end, or have more than {HEADER_BYTES} bytes.")
    headers = HeaderParser().parsestr(body[begin:blank].decode("latin-1"))
    if headers.get("content-transfer-encoding", "binary").strip().lower() not in {"binary", "8bit", "7bit"}:
        raise MultipartBroken("A part has a Content-Transfer-Encoding; files are accepted as they are.")
    name = headers.get_param("name", header="content-disposition")
    if headers.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise MultipartBroken("A part has no `Content-Disposition: form-data` with a name.")
    return Part(name, headers.get_filename(), bytes(body[blank + 4 : end]))


def _short(text: str) -> str:
    """For a message: what came from outside, and not too much of it."""
    return repr(text if len(text) <= 40 else text[:40] + "…")
