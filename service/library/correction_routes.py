"""The calls about what a model has not learned yet: a corrected photo comes in, and those that wait are listed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from handful.service.feedback.form import PARAMETERS, FeedbackForm, parse_form
from handful.service.http.body import BODY_ERRORS, IMAGE_ERRORS, OVERHEAD_BYTES, off_loop, read_body
from handful.service.http.capacity import Capacity, Reservation
from handful.service.http.endpoint import FILE, Answer, Endpoint, check_parameters, form
from handful.service.http.errors import FieldMissing, LabelUnknown, LabelWrong, ParameterWrong
from handful.service.http.library_errors import LibraryFull
from handful.service.library.adding import PhotoUploads, keep_one
from handful.service.library.bodies import CorrectionsBody, LibraryFeedbackBody, photo_body
from handful.service.library.disk import DISK_ERRORS, LibraryDisk
from handful.service.library.labels import check_label
from handful.service.library.learned import champion_folder, version_labels, waiting_in
from handful.service.library.library import PhotoLibrary
from handful.service.library.thumbnails import SIDE
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MOST_SHOWN = 1000  # photos


class CorrectionRoutes:
    """One per worker. `bodies` limits the bytes of all request bodies in its memory."""

    def __init__(self, disk: LibraryDisk, uploads: PhotoUploads, bodies: Capacity) -> None:
        self.disk, self.uploads, self.bodies = disk, uploads, bodies
        fields = {"image": FILE, **{parameter.name: parameter.schema for parameter in PARAMETERS}}
        errors = (FieldMissing, ParameterWrong, LabelWrong, LabelUnknown, LibraryFull)
        self.endpoints = (
            Endpoint(
                "POST",
                "/models/{name}/feedback",
                self.correct,
                "An image and its right label, or other for none of them, put into the photo library to learn from.",
                answers={
                    200: Answer("The library had the photo already, perhaps under another label", LibraryFeedbackBody),
                    201: Answer("The photo is new", LibraryFeedbackBody),
                },
                errors=(*DISK_ERRORS, *BODY_ERRORS, *IMAGE_ERRORS, *errors),
                parameters=PARAMETERS,
                content={**form(fields, optional={"new"}), "image/*": FILE, "application/octet-stream": FILE},
            ),
            Endpoint(
                "GET",
                "/models/{name}/corrections",
                self.corrections,
                "Photos of the library that the champion has not learned, or learned under another label.",
                answers={200: Answer("Those that wait", CorrectionsBody)},
                errors=DISK_ERRORS,
            ),
        )

    async def correct(self, request: Request) -> Response:
        check_parameters(request.query_params, PARAMETERS)
        name = request.path_params["name"]
        library = await self.disk.library(name)
        with self.bodies.reserve() as reservation:
            received = await self._read(request, reservation)
            known = await self.disk.call(_known_labels, library, self.disk.home, name)
            label = check_label(received.label, known, new=received.new)
            jpeg = await self.uploads.decoders.thumbnail(received.image, SIDE)
            kept = await self.disk.call(keep_one, library, received.image, received.filename, jpeg, label)
        self.uploads.metrics.feedback.inc()
        previous = kept.photo.label if kept.same else None
        body = LibraryFeedbackBody(label=label, previous=previous, sha256=kept.photo.id, id=kept.photo.id)
        return JSONResponse(body.model_dump(), 200 if kept.same else 201)

    async def corrections(self, request: Request) -> Response:
        name = request.path_params["name"]
        library = await self.disk.library(name)
        photos, problems = await self.disk.call(waiting_in, library, name)
        shown = [photo_body(photo, problems.get(photo.place, [])) for photo in photos[:MOST_SHOWN]]
        body = CorrectionsBody(waiting=len(photos), photos=shown)
        return Response(body.model_dump_json(), media_type="application/json")

    async def _read(self, request: Request, reservation: Reservation) -> FeedbackForm:
        settings = self.disk.settings
        limit_bytes = int(settings.max_image_megabytes * 1e6) + 3 * OVERHEAD_BYTES
        body = await read_body(request.headers, request.receive, limit_bytes, settings.body_seconds, reservation)
        content_type, query = request.headers.get("content-type", ""), request.query_params
        return await off_loop(partial(parse_form, content_type, body, query), len(body))


def _known_labels(library: PhotoLibrary, home: Path, name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*library.labels(), *version_labels(champion_folder(home, name))]))
