"""A saved multipart body -> its files, each counted as it is written. What is wrong with one file refuses that file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from handful.service.artifact.errors import HandfulError, ImageTooManyBytes
from handful.service.http.errors import FieldNotAFile, ImageMissing
from handful.service.http.multipart import CHUNK_BYTES, PartHead, read_parts
from handful.service.library.labels import suffix_of
from handful.service.library.library import NewPhoto
from handful.service.library.photo_names import sent_name

FIELD = "photos"
HEAD_BYTES = 64  # of a file, which tell its kind


class UploadLimits(NamedTuple):
    """The most of one upload."""

    photos: int
    photo_bytes: int


class RefusedPhoto(NamedTuple):
    """One file of an upload that was not taken."""

    name: str
    error: HandfulError


def split_upload(content_type: str, body: Path, folder: Path, limits: UploadLimits) -> list[NewPhoto | RefusedPhoto]:
    """Every file of the body in a file of its own in `folder`, in order; the body is deleted.

    Raises `FieldNotAFile`, `ImageMissing`, or what `read_parts` raises.
    """
    files: list[NewPhoto | RefusedPhoto] = []
    with body.open("rb") as source:
        chunks = iter(partial(source.read, CHUNK_BYTES), b"")
        events = read_parts(content_type, chunks, [FIELD], limits.photos)
        for head, data in _parts(events):
            if head.filename is None:
                raise FieldNotAFile(f"The field {FIELD!r} is text; a file is expected (a URL is not fetched).")
            files.append(_copied(head.filename, data, folder / str(len(files)), limits.photo_bytes))
    body.unlink()
    if not files:
        raise ImageMissing(f"The multipart body has no parts; photos in fields {FIELD!r} are expected.")
    return files


def _parts(events: Iterator[PartHead | bytes]) -> Iterator[tuple[PartHead, Iterator[bytes]]]:
    """Each head with its data; all of the data must be taken before the next head."""
    ahead = next(events, None)
    while isinstance(ahead, PartHead):
        head, following = ahead, list[PartHead]()

        def data(following: list[PartHead] = following) -> Iterator[bytes]:
            for event in events:
                if isinstance(event, PartHead):
                    following.append(event)
                    return
                yield event

        yield head, data()
        ahead = following[0] if following else None


def _copied(filename: str, data: Iterator[bytes], path: Path, most_bytes: int) -> NewPhoto | RefusedPhoto:
    name, size, head, digest = sent_name(filename), 0, b"", hashlib.sha256()
    with path.open("xb") as target:
        for chunk in data:
            size += len(chunk)
            if size <= most_bytes:
                target.write(chunk)
                digest.update(chunk)
                head = head if len(head) >= HEAD_BYTES else head + chunk[:HEAD_BYTES]
        target.flush()
        os.fsync(target.fileno())  # before it gets its name
    if size > most_bytes:
        path.unlink()
        too_large = f"The image has {size / 1e6:.1f} MB; at most {most_bytes / 1e6:g} MB are allowed."
        return RefusedPhoto(name, ImageTooManyBytes(too_large))
    return NewPhoto(path, name, digest.hexdigest(), suffix_of(head))
