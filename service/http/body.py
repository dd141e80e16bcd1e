"""A request's body -> the encoded images or the zip in it. Every limit on a body is checked here, by counting.

Nothing is decoded here, nothing is fetched; only a zip, which may be larger than memory, goes to the disk.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Awaitable, Callable
from pathlib import Path

from handful.service.http.capacity import Lease
from handful.service.http.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    FieldMissing,
    FieldNotAFile,
    FieldUnexpected,
    ImageMissing,
    MediaTypeUnsupported,
    MultipartBroken,
)
from handful.service.http.filenames import short
from handful.service.http.multipart import Part, multipart_spans, parse_multipart
from starlette.datastructures import Headers
from starlette.types import Receive

OVERHEAD_BYTES = 1024  # boundaries and headers, a part: they count neither as image nor against it
ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})
DISCARDED = 8  # times the limit is read and thrown away, so that an honest client reads the 413


async def read_body(headers: Headers, receive: Receive, limit_bytes: int, seconds: float, lease: Lease) -> bytearray:
    """The whole body, counted as it arrives; the lease holds as many bytes as are in memory."""
    body = bytearray()

    async def keep(chunk: bytes) -> None:
        nonlocal body
        lease.take(len(chunk))
        body += chunk

    await _receive(headers, receive, limit_bytes, seconds, keep)
    return body


async def save_body(headers: Headers, receive: Receive, limit_bytes: int, seconds: float, path: Path) -> None:
    """The whole body into a new file, counted as it arrives; raises OSError where the disk is full."""
    with path.open("xb") as file:

        async def keep(chunk: bytes) -> None:
            await asyncio.to_thread(file.write, chunk)

        await _receive(headers, receive, limit_bytes, seconds, keep)


async def _receive(
    headers: Headers, receive: Receive, limit_bytes: int, seconds: float, keep: Callable[[bytes], Awaitable[None]]
) -> None:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaTypeUnsupported("The body is compressed; it is accepted only as it is (no Content-Encoding).")
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes and "expect" in headers:
        raise _too_large(limit_bytes)  # the client is still waiting to be asked for the body
    try:
        async with asyncio.timeout(seconds):
            await _receive_chunks(receive, limit_bytes, keep)
    except TimeoutError as e:
        raise BodyTooSlow(f"The body has not arrived within {seconds:g} seconds.") from e


async def _receive_chunks(receive: Receive, limit_bytes: int, keep: Callable[[bytes], Awaitable[None]]) -> None:
    seen = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client went away before its body was whole.")
        chunk = message.get("body", b"")
        seen += len(chunk)
        if seen > limit_bytes:
            await _discard(receive, DISCARDED * limit_bytes)
            raise _too_large(limit_bytes)
        await keep(chunk)
        if not message.get("more_body"):
            return


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


def archive_type(content_type: str) -> str:
    """`zip` or `multipart`: how the zip comes; every other type is refused before the body is read."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ZIP_TYPES:
        return "zip"
    if kind == "multipart/form-data":
        return "multipart"
    raise MediaTypeUnsupported(
        f"The Content-Type is {short(content_type)}; application/zip or multipart/form-data is allowed."
    )


def take_archive(content_type: str, body: Path, archive: Path) -> None:
    """The zip in a body that lies on the disk becomes a file of its own; the body is gone then."""
    if archive_type(content_type) == "multipart":
        _cut_out(content_type, body, archive)
        body.unlink()
    else:
        body.rename(archive)


def _cut_out(content_type: str, body: Path, archive: Path) -> None:
    if not body.stat().st_size:
        raise MultipartBroken("The multipart body is empty.")  # and cannot be mapped
    with body.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        spans = multipart_spans(content_type, mapped, 1)
        if not spans:
            raise FieldMissing("The multipart body has no parts; a zip in a field 'photos' is expected.")
        span = spans[0]
        _check_file(span.name, span.filename, "photos")
        with memoryview(mapped) as view, view[span.begin : span.end] as data, archive.open("xb") as out:
            out.write(data)


def multipart_images(content_type: str, body: bytearray, *, field: str, most: int) -> list[bytes]:
    """The files of the one field that is known, in order; at least one, at most `most`."""
    check_form(content_type, "image/*" if field == "image" else None)
    parts = parse_multipart(content_type, body, most_parts=most)
    return [file_data(part, field) for part in parts]


def check_form(content_type: str, also: str | None) -> None:
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        allowed = "multipart/form-data" + (f" or {also}" if also else "")
        raise MediaTypeUnsupported(f"The Content-Type is {short(content_type)}; {allowed} is allowed.")


def file_data(part: Part, field: str) -> bytes:
    _check_file(part.name, part.filename, field)
    if not part.filename and not part.data:
        raise ImageMissing(f"The field {field!r} has no file in it.")
    return part.data


def _check_file(name: str, filename: str | None, field: str) -> None:
    if name != field:
        raise FieldUnexpected(f"There is a field {short(name)}; only {field!r} is allowed.")
    if filename is None:
        raise FieldNotAFile(f"The field {field!r} is text; a file is expected (nothing is fetched from a URL).")
