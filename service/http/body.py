"""A request's body -> the encoded images or the zip in it. Every limit on a body is enforced here, by counting.

Images are not decoded and URLs are not fetched. Only a zip, which may be larger than memory, goes to the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from handful.service.artifact.errors import ImageError
from handful.service.http.capacity import Reservation
from handful.service.http.errors import (
    AnyError,
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    FieldMissing,
    FieldNotAFile,
    FieldUnexpected,
    ImageMissing,
    MediaTypeUnsupported,
    MultipartBroken,
    Overloaded,
    TooManyImages,
)
from handful.service.http.filenames import quoted
from handful.service.http.json_body import body_megabytes, json_image
from handful.service.http.multipart import CHUNK_BYTES, Part, PartHead, media_type, parse_multipart, read_parts
from starlette.datastructures import Headers
from starlette.types import Receive

OVERHEAD_BYTES = 1024  # per part, for its boundary and headers, beside the limit on its data
JSON = "application/json"
UNTYPED = frozenset({"", "application/octet-stream"})  # the bytes tell what they are
ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})
SMALL_BYTES = 128_000
DISCARDED = 8  # times the limit: how much of a larger body is read and dropped, so that its sender sees the 413
T = TypeVar("T")
_parsers = ThreadPoolExecutor(2, "parse")
BODY_ERRORS: tuple[AnyError, ...] = (
    FieldNotAFile,
    FieldUnexpected,
    TooManyImages,
    MultipartBroken,
    ClientGone,
    BodyTooSlow,
    BodyTooLarge,
    MediaTypeUnsupported,
    Overloaded,
)
IMAGE_ERRORS: tuple[AnyError, ...] = (ImageMissing, *ImageError.__subclasses__())


async def read_body(
    headers: Headers, receive: Receive, limit_bytes: int, seconds: float, reservation: Reservation
) -> bytearray:
    """The whole body, counted as it arrives; the reservation grows with the bytes in memory."""
    body = bytearray()

    async def keep(chunk: bytes) -> None:
        nonlocal body
        reservation.add(len(chunk))
        body += chunk

    await _receive(headers, receive, limit_bytes, seconds, keep)
    return body


async def save_body(headers: Headers, receive: Receive, limit_bytes: int, seconds: float, path: Path) -> None:
    """Writes the whole body to a new file, counted as it arrives; raises OSError if the disk is full."""
    with path.open("xb") as file:

        async def keep(chunk: bytes) -> None:
            await asyncio.to_thread(file.write, chunk)

        await _receive(headers, receive, limit_bytes, seconds, keep)


async def _receive(
    headers: Headers, receive: Receive, limit_bytes: int, seconds: float, keep: Callable[[bytes], Awaitable[None]]
) -> None:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaTypeUnsupported("The body is compressed; only a body without Content-Encoding is accepted.")
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes and "expect" in headers:
        raise _too_large(limit_bytes)  # the client has not sent it yet: it waits for `100 Continue`
    try:
        async with asyncio.timeout(seconds):
            await _receive_chunks(receive, limit_bytes, keep)
    except TimeoutError as e:
        raise BodyTooSlow(f"The body has not arrived within {seconds:g} seconds.") from e


async def _receive_chunks(receive: Receive, limit_bytes: int, keep: Callable[[bytes], Awaitable[None]]) -> None:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client closed the connection before its body was complete.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            if message.get("more_body"):
                await _discard(receive, DISCARDED * limit_bytes)
            raise _too_large(limit_bytes)
        await keep(chunk)
        if not message.get("more_body"):
            return


async def _discard(receive: Receive, max_bytes: int) -> None:
    dropped, more = 0, True
    while more and dropped < max_bytes:
        message = await receive()
        dropped += len(message.get("body", b""))
        more = message.get("more_body", False)


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is too large; at most {limit_bytes / 1e6:.1f} MB are allowed here.")


async def off_loop(parse: Callable[[], T], body_bytes: int) -> T:
    """Parses a large body in a thread: whatever it holds, other requests are answered meanwhile.

    A small one is parsed at once, which takes a millisecond and is faster than a change of threads.
    """
    if body_bytes <= SMALL_BYTES:
        return parse()
    return await asyncio.get_running_loop().run_in_executor(_parsers, parse)


def single_image(content_type: str, body: bytearray) -> bytes:
    """The image in a multipart field `image` or in JSON, or the body itself if it is of an image's type or of none."""
    if is_image(content_type):
        return bytes(body)
    if media_type(content_type) == JSON:
        return json_image(body)
    return multipart_images(content_type, body, field="image", max_images=1)[0]


def single_image_megabytes(content_type: str, image_megabytes: float) -> float:
    """How large the body of `single_image` may be."""
    return body_megabytes(image_megabytes) if media_type(content_type) == JSON else image_megabytes


def is_image(content_type: str) -> bool:
    """Whether the body is the image itself; its bytes decide what it is."""
    kind = media_type(content_type)
    return kind in UNTYPED or kind.startswith("image/")


def multipart_images(content_type: str, body: bytearray, *, field: str, max_images: int) -> list[bytes]:
    """The files of the one allowed field, in order: at least one, at most `max_images`."""
    check_form(content_type, f"image/*, application/octet-stream or {JSON}" if field == "image" else None)
    parts = parse_multipart(content_type, body, fields=[field], max_parts=max_images)
    return [file_data(part, field) for part in parts]


def check_form(content_type: str, other: str | None) -> None:
    """Raises `MediaTypeUnsupported` unless the body is a form; `other` is the other type that the call allows."""
    if media_type(content_type) != "multipart/form-data":
        allowed = "multipart/form-data" + (f", {other}" if other else "")
        raise MediaTypeUnsupported(f"The Content-Type is {quoted(content_type)}; {allowed} is allowed.")


def file_data(part: Part, field: str) -> bytes:
    """Raises `FieldNotAFile`, or `ImageMissing` if no file was chosen."""
    _check_file(part.filename, field)
    if not part.filename and not part.data:
        raise ImageMissing(f"The field {field!r} has no file in it.")
    return part.data


def _check_file(filename: str | None, field: str) -> None:
    if filename is None:
        raise FieldNotAFile(f"The field {field!r} is text; a file is expected (a URL is not fetched).")


def archive_type(content_type: str) -> str:
    """`zip` or `multipart`: how the zip is sent; raises `MediaTypeUnsupported` for every other type."""
    kind = media_type(content_type)
    if kind in ZIP_TYPES:
        return "zip"
    if kind == "multipart/form-data":
        return "multipart"
    raise MediaTypeUnsupported(
        f"The Content-Type is {quoted(content_type)}; application/zip or multipart/form-data is allowed."
    )


def take_archive(content_type: str, body: Path, archive: Path) -> None:
    """Moves the zip out of a saved body into a file of its own; the body's file is then gone."""
    if archive_type(content_type) == "zip":
        body.rename(archive)
        return
    with body.open("rb") as file:
        _copy_part(content_type, file, archive)
    body.unlink()


def _copy_part(content_type: str, body: BinaryIO, archive: Path) -> None:
    heads: list[PartHead] = []
    with archive.open("xb") as target:
        for event in read_parts(content_type, iter(partial(body.read, CHUNK_BYTES), b""), ["photos"], 1):
            if isinstance(event, PartHead):
                heads.append(event)
            else:
                target.write(event)
    if not heads:
        raise FieldMissing("The multipart body has no parts; a zip in a field 'photos' is expected.")
    _check_file(heads[0].filename, "photos")
