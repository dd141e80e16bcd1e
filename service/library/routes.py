"""The calls about the photos and labels of a model's library. Knows HTTP; `library.py` and `adding.py` do the work."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar
from urllib.parse import quote

from handful.service.artifact.errors import ImageError
from handful.service.artifact.images import read_bytes
from handful.service.http.body import BODY_ERRORS, IMAGE_ERRORS
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import FILE, TEXT, Answer, Endpoint, Parameter, check_parameters, form
from handful.service.http.errors import JsonBroken, LabelWrong, ParameterWrong, status_of
from handful.service.http.filenames import quoted
from handful.service.http.json_request import JsonRequest, json_content, read_json
from handful.service.http.library_errors import LibraryFull, NoSuchLabel, NoSuchPhoto
from handful.service.http.schemas import error_body
from handful.service.library.adding import PhotoUploads
from handful.service.library.bodies import (
    ChosenPhotos,
    DeletedLabelBody,
    DeletedPhotosBody,
    LabelAddedBody,
    LabelCount,
    LabelRequest,
    MovedPhotosBody,
    MoveRequest,
    PhotosBody,
    RenamedLabelBody,
    UploadedBody,
    photo_body,
)
from handful.service.library.disk import DISK_ERRORS, LibraryDisk
from handful.service.library.labels import check_new_label, suffix_of
from handful.service.library.library import PhotoLibrary
from handful.service.library.listing import LibraryPhoto, label_counts
from handful.service.library.problems import problems_of
from handful.service.library.thumbnails import SIDE, Thumbnails
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MOST_LISTED, LISTED = 1000, 200  # photos in one answer
FOREVER = "private, max-age=31536000, immutable"  # what an id names never changes
MEDIA_TYPES = {"jpg": "image/jpeg", "tiff": "application/octet-stream"}  # else image/ and the ending
LIST_PARAMETERS = (
    Parameter("label", TEXT),
    Parameter("offset", {"type": "integer", "minimum": 0, "default": 0}),
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": LISTED}),
)
LABEL_PARAMETER = (Parameter("label", TEXT),)
PHOTOS, PHOTO, LABELS = "/models/{name}/photos", "/models/{name}/photos/{photo}", "/models/{name}/labels"
M = TypeVar("M", bound=JsonRequest)
_ID = re.compile(r"[0-9a-f]{64}")


class LibraryRoutes:
    """One per worker. `bodies` limits the bytes of all request bodies in its memory."""

    def __init__(self, disk: LibraryDisk, uploads: PhotoUploads, bodies: Capacity) -> None:
        self.disk, self.uploads, self.bodies = disk, uploads, bodies
        settings = disk.settings
        files = {"type": "array", "items": FILE, "minItems": 1, "maxItems": settings.max_retrain_files}
        many = f"Adds photos: at most {settings.max_retrain_files}, {settings.max_retrain_megabytes:g} MB together."
        changing = (*DISK_ERRORS, *BODY_ERRORS, JsonBroken, LabelWrong, LibraryFull)
        self.endpoints = (
            Endpoint(
                "GET",
                PHOTOS,
                self.photos,
                "The photos of the library, and what is wrong with them.",
                answers={200: Answer("A part of them", PhotosBody)},
                errors=DISK_ERRORS,
                parameters=LIST_PARAMETERS,
            ),
            Endpoint(
                "POST",
                PHOTOS,
                self.upload,
                many,
                answers={200: Answer("What became of each", UploadedBody)},
                errors=(*DISK_ERRORS, *BODY_ERRORS, *IMAGE_ERRORS, LabelWrong, LibraryFull),
                parameters=LABEL_PARAMETER,
                content=form({"photos": files}),
            ),
            Endpoint(
                "POST",
                f"{PHOTOS}/move",
                self.move,
                "Moves photos to a label, which may be new.",
                answers={200: Answer("How many moved", MovedPhotosBody)},
                errors=(*changing, NoSuchPhoto),
                content=json_content(MoveRequest),
            ),
            Endpoint(
                "POST",
                f"{PHOTOS}/delete",
                self.delete,
                "Deletes photos; for an hour they can be brought back.",
                answers={200: Answer("How many were deleted", DeletedPhotosBody)},
                errors=(*changing, NoSuchPhoto),
                content=json_content(ChosenPhotos),
            ),
            Endpoint(
                "GET",
                PHOTO,
                self.original,
                "The photo as it was sent.",
                answers={200: Answer("Its bytes", str, "application/octet-stream")},
                errors=(*DISK_ERRORS, *IMAGE_ERRORS, NoSuchPhoto),
            ),
            Endpoint(
                "GET",
                f"{PHOTO}/thumbnail",
                self.thumbnail,
                f"The photo, upright, at most {SIDE} pixels wide and high.",
                answers={200: Answer("A JPEG", str, "image/jpeg")},
                errors=(*DISK_ERRORS, *IMAGE_ERRORS, NoSuchPhoto),
            ),
            Endpoint(
                "POST",
                LABELS,
                self.add_label,
                "Makes a label without photos.",
                answers={201: Answer("The label", LabelAddedBody)},
                errors=changing,
                content=json_content(LabelRequest),
            ),
            Endpoint(
                "PATCH",
                f"{LABELS}/{{label}}",
                self.rename_label,
                "Renames a label; where the new one exists its photos join that.",
                answers={200: Answer("How many photos it has", RenamedLabelBody)},
                errors=(*changing, NoSuchLabel),
                content=json_content(LabelRequest),
            ),
            Endpoint(
                "DELETE",
                f"{LABELS}/{{label}}",
                self.delete_label,
                "Deletes a label with its photos; for an hour they can be brought back.",
                answers={200: Answer("How to bring it back", DeletedLabelBody)},
                errors=(*DISK_ERRORS, NoSuchLabel),
            ),
        )

    async def photos(self, request: Request) -> Response:
        check_parameters(request.query_params, LIST_PARAMETERS)
        offset = _number(request.query_params, "offset", 0, 0, 1 << 31)
        limit = _number(request.query_params, "limit", LISTED, 1, MOST_LISTED)
        library = await self._library(request)
        return _json(await self.disk.call(_listed, library, request.query_params.get("label"), offset, limit))

    async def upload(self, request: Request) -> Response:
        check_parameters(request.query_params, LABEL_PARAMETER)
        label = check_new_label(request.query_params.get("label", ""))
        return _json(await self.uploads.receive(request, await self._library(request), label))

    async def move(self, request: Request) -> Response:
        library, asked = await self._library(request), await self._body(request, MoveRequest)
        moved, trashed = await self.disk.call(library.move, asked.ids, asked.label)
        return _json(MovedPhotosBody(moved=moved, undo=trashed.token, until=trashed.until))

    async def delete(self, request: Request) -> Response:
        library, asked = await self._library(request), await self._body(request, ChosenPhotos)
        deleted, trashed = await self.disk.call(library.delete, asked.ids)
        return _json(DeletedPhotosBody(deleted=deleted, undo=trashed.token, until=trashed.until))

    async def original(self, request: Request) -> Response:
        library, photo_id = await self._library(request), _photo_id(request)
        photo = await self.disk.call(library.find, photo_id)
        with self.bodies.reserve(photo.size_bytes):
            try:
                data = await self.disk.call(self._read, photo)
            except ImageError as e:
                return self._refused(e)
        suffix = suffix_of(data)
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(photo.name, safe='')}",
            "Cache-Control": FOREVER,
        }
        return Response(data, 200, headers, MEDIA_TYPES.get(suffix, f"image/{suffix}"))

    async def thumbnail(self, request: Request) -> Response:
        library, photo_id = await self._library(request), _photo_id(request)
        thumbnails = Thumbnails(library.hidden)
        jpeg = await self.disk.call(thumbnails.read, photo_id)
        if jpeg is None:
            try:
                jpeg = await self._made(library, photo_id)
            except ImageError as e:
                await self.disk.call(library.contents.note_unreadable, photo_id, str(e))
                return self._refused(e)
            await self.disk.call(thumbnails.write, photo_id, jpeg)
        return Response(jpeg, 200, {"Cache-Control": FOREVER}, "image/jpeg")

    async def _made(self, library: PhotoLibrary, photo_id: str) -> bytes:
        """Of a photo that was put there by hand."""
        photo = await self.disk.call(library.find, photo_id)
        with self.bodies.reserve(photo.size_bytes):
            data = await self.disk.call(self._read, photo)
            return await self.uploads.decoders.thumbnail(data, SIDE)

    async def add_label(self, request: Request) -> Response:
        library, asked = await self._library(request), await self._body(request, LabelRequest)
        return _json(LabelAddedBody(label=await self.disk.call(library.add_label, asked.label)), 201)

    async def rename_label(self, request: Request) -> Response:
        library, asked = await self._library(request), await self._body(request, LabelRequest)
        photos, merged = await self.disk.call(library.rename_label, request.path_params["label"], asked.label)
        return _json(RenamedLabelBody(renamed=photos, merged=merged))

    async def delete_label(self, request: Request) -> Response:
        library = await self._library(request)
        trashed = await self.disk.call(library.delete_label, request.path_params["label"])
        return _json(DeletedLabelBody(undo=trashed.token, until=trashed.until))

    async def _library(self, request: Request) -> PhotoLibrary:
        return await self.disk.library(request.path_params["name"])

    async def _body(self, request: Request, kind: type[M]) -> M:
        return await read_json(request, kind, self.disk.settings.body_seconds, self.bodies)

    def _read(self, photo: LibraryPhoto) -> bytes:
        return read_bytes(photo.path, max_megabytes=self.disk.settings.max_image_megabytes)

    def _refused(self, error: ImageError) -> Response:
        self.uploads.metrics.errors.labels(error.code).inc()
        return JSONResponse(error_body(error.code, str(error)), status_of(type(error)))


def _listed(library: PhotoLibrary, label: str | None, offset: int, limit: int) -> PhotosBody:
    photos = library.photos()
    counts, problems = label_counts(photos), problems_of(library.hidden, photos, library.contents)
    chosen = _once([photo for photo in photos if label is None or photo.label == label])
    return PhotosBody(
        total=len(chosen),
        labels=[LabelCount(label=each, photos=counts[each]) for each in library.labels()],
        photos=[photo_body(photo, problems.get(photo.place, [])) for photo in chosen[offset : offset + limit]],
    )


def _once(photos: Collection[LibraryPhoto]) -> list[LibraryPhoto]:
    """The same content twice under one label is shown once, with a problem."""
    return list({(photo.label, photo.id): photo for photo in photos}.values())


def _photo_id(request: Request) -> str:
    photo_id: str = request.path_params["photo"]
    if not _ID.fullmatch(photo_id):
        raise NoSuchPhoto("There is no such photo in the library; its id is the sha256 of its bytes, in hex.")
    return photo_id


def _number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, str(default))
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else -1
    if not least <= number <= most:
        raise ParameterWrong(f"{name} is {quoted(text)}; a whole number from {least} to {most} is allowed.")
    return number


def _json(body: BaseModel, status: int = 200) -> Response:
    return Response(body.model_dump_json(), status, media_type="application/json")
