"""Uploads on their way into the library: received on the disk, decoded in the decoders, then put under their label."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from handful.service.artifact.atomic import partial_folder, scratch_folder, sweep, sync_file
from handful.service.artifact.errors import HandfulError, ImageError
from handful.service.artifact.images import content_sha256
from handful.service.artifact.label_names import printable
from handful.service.decoding.decoders import Decoders
from handful.service.http.body import OVERHEAD_BYTES, check_form, save_body
from handful.service.http.capacity import Capacity
from handful.service.http.errors import Overloaded
from handful.service.http.metrics import ServiceMetrics
from handful.service.library.bodies import AddedPhoto, RefusedBody, SamePhoto, UploadedBody
from handful.service.library.disk import LibraryDisk
from handful.service.library.labels import suffix_of
from handful.service.library.library import Kept, NewPhoto, PhotoLibrary
from handful.service.library.photo_names import sent_name
from handful.service.library.thumbnails import SIDE, Thumbnails
from handful.service.library.uploads import RefusedPhoto, UploadLimits, split_upload
from starlette.requests import Request

MAX_UPLOADS = 8  # at once per worker
DECODED_AT_ONCE = 4  # per worker: each is in memory meanwhile
NAME_LETTERS = 255
SWEEP_SECONDS = 3600.0


class Decoded(NamedTuple):
    """A photo that may be put into the library, and its thumbnail; None: the library has the photo already."""

    photo: NewPhoto
    thumbnail: bytes | None


class PhotoUploads:
    """One per worker."""

    def __init__(self, disk: LibraryDisk, decoders: Decoders, metrics: ServiceMetrics) -> None:
        self.disk, self.decoders, self.metrics, self.settings = disk, decoders, metrics, disk.settings
        self.uploads = Capacity(MAX_UPLOADS, "uploads of photos")
        self._decoding = asyncio.Semaphore(DECODED_AT_ONCE)

    async def receive(self, request: Request, library: PhotoLibrary, label: str) -> UploadedBody:
        """The photos of a multipart body. What is wrong with one of them is said of that one."""
        settings, content_type = self.settings, request.headers.get("content-type", "")
        check_form(content_type, None)
        limits = UploadLimits(settings.max_retrain_files, int(settings.max_image_megabytes * 1e6))
        limit_bytes = int(settings.max_retrain_megabytes * 1e6) + OVERHEAD_BYTES
        with self.uploads.reserve(1):
            async with self.folder(library) as folder:
                body = folder / "body"
                await self._save(request, limit_bytes, body)
                files = await self.disk.call(split_upload, content_type, body, folder, limits)
                return await self.add(library, files, label)

    async def _save(self, request: Request, limit_bytes: int, body: Path) -> None:
        try:
            await save_body(request.headers, request.receive, limit_bytes, self.settings.upload_seconds, body)
        except OSError as e:
            await self.disk.call(_raise, e)  # as an answer

    async def decoded(self, photo: NewPhoto) -> Decoded:
        """Raises an `ImageError` or `Overloaded`."""
        async with self._decoding:
            data = await self.disk.call(photo.part.read_bytes)
            return Decoded(photo, await self.decoders.thumbnail(data, SIDE))

    async def add(self, library: PhotoLibrary, files: Sequence[NewPhoto | RefusedPhoto], label: str) -> UploadedBody:
        known = {photo.id for photo in await self.disk.call(library.photos)}
        checked = await asyncio.gather(*(self._check(file, known) for file in files))
        usable = [each for each in checked if isinstance(each, Decoded)]
        kept = await self.disk.call(keep, library, usable, label)
        added, same = list[AddedPhoto](), list[SamePhoto]()
        refused = [_refused(each.name, each.error) for each in checked if isinstance(each, RefusedPhoto)]
        for (photo, _), result in zip(usable, kept, strict=True):
            if not isinstance(result, Kept):
                refused.append(_refused(photo.sent_name, result))
                continue
            name = _shown(photo.sent_name) or result.photo.name
            if result.same:
                same.append(SamePhoto(id=photo.id, name=name, label=result.photo.label))
            else:
                added.append(AddedPhoto(id=photo.id, name=name))
        for each in refused:
            self.metrics.errors.labels(each.code).inc()
        return UploadedBody(added=added, same=same, refused=refused)

    async def _check(self, file: NewPhoto | RefusedPhoto, known: set[str]) -> Decoded | RefusedPhoto:
        if isinstance(file, RefusedPhoto):
            return file
        if file.id in known:
            return Decoded(file, None)
        try:
            return await self.decoded(file)
        except (ImageError, Overloaded) as e:
            return RefusedPhoto(file.sent_name, e)

    @asynccontextmanager
    async def folder(self, library: PhotoLibrary) -> AsyncIterator[Path]:
        """A hidden folder in the library, removed afterwards with what is still in it."""
        folder = await self.disk.call(_scratch, library)
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def keep(
    library: PhotoLibrary, photos: Sequence[Decoded], label: str, *, move: bool = False
) -> list[Kept | HandfulError]:
    """As `PhotoLibrary.add`, with the thumbnails."""
    results = library.add([each.photo for each in photos], label, move=move)
    thumbnails = Thumbnails(library.hidden)
    for each, result in zip(photos, results, strict=True):
        if isinstance(result, Kept) and each.thumbnail and not result.same:
            with suppress(FileNotFoundError):  # the library went elsewhere; it is made again when it is asked for
                thumbnails.write(each.photo.id, each.thumbnail)
    if time.monotonic() - library.swept > SWEEP_SECONDS:
        library.swept = time.monotonic()
        thumbnails.sweep({photo.id for photo in library.photos()})
    return list(results)


def keep_one(library: PhotoLibrary, image: bytes, filename: str | None, jpeg: bytes, label: str) -> Kept:
    """Puts a photo and its thumbnail under the label, to which one that is there under another label moves.

    Raises `LibraryFull` or `LabelWrong`.
    """
    library.create()
    with partial_folder(library.hidden) as folder:
        part = folder / "photo"
        part.write_bytes(image)
        sync_file(part)
        new = NewPhoto(part, sent_name(filename), content_sha256(image), suffix_of(image))
        (result,) = keep(library, [Decoded(new, jpeg)], label, move=True)
    if not isinstance(result, Kept):
        raise result
    return result


def _scratch(library: PhotoLibrary) -> Path:
    library.create()
    sweep(library.hidden)
    return scratch_folder(library.hidden)


def _raise(error: OSError) -> None:
    raise error


def _refused(name: str, error: HandfulError) -> RefusedBody:
    return RefusedBody(name=_shown(name), code=error.code, message=str(error))


def _shown(name: str) -> str:
    return printable(name)[:NAME_LETTERS]
