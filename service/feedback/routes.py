"""The calls about feedback: one stores an image under its right label, the other counts them. Knows HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from handful.service.decoding.decoders import Decoders
from handful.service.feedback.folder import FeedbackFolder
from handful.service.feedback.form import PARAMETERS, FeedbackForm, parse_form
from handful.service.http.body import BODY_ERRORS, IMAGE_ERRORS, OVERHEAD_BYTES, off_loop, read_body
from handful.service.http.capacity import Admission, Capacity, Reservation
from handful.service.http.endpoint import FILE, Answer, Endpoint, check_parameters, form
from handful.service.http.errors import (
    NO_SPACE_ERRNOS,
    DiskFull,
    FeedbackFull,
    FeedbackOff,
    FieldMissing,
    LabelUnknown,
    LabelWrong,
    NotReady,
    ParameterWrong,
)
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.schemas import FeedbackBody, FeedbackCounts
from handful.service.library.labels import check_label
from handful.service.serving.champion import ChampionWatcher
from handful.service.settings import Settings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

DISK_THREADS = 2  # the folder is changed by one at a time; the other counts
T = TypeVar("T")


class FeedbackRoutes:
    """One per worker. `bodies` limits the bytes of all request bodies in its memory."""

    def __init__(
        self,
        settings: Settings,
        champion: ChampionWatcher,
        metrics: ServiceMetrics,
        bodies: Capacity,
        decoders: Decoders,
        admission: Admission,
    ) -> None:
        self.settings, self.champion, self.metrics, self.bodies = settings, champion, metrics, bodies
        self.decoders, self.admission = decoders, admission
        self._disk = ThreadPoolExecutor(DISK_THREADS, "feedback")
        fields = {"image": FILE, **{parameter.name: parameter.schema for parameter in PARAMETERS}}
        errors = (FeedbackOff, FieldMissing, ParameterWrong, LabelWrong, LabelUnknown, FeedbackFull, DiskFull, NotReady)
        self.endpoints = (
            Endpoint(
                "POST",
                "/feedback",
                self.correct,
                "An image and its right label, or other for none of them, stored to learn from"
                f"{'' if settings.feedback else '; off here'}. A retrain learns it, unless the model is sure of another"
                " label: then only with promote=always.",
                answers={
                    200: Answer("The image was there already, perhaps under another label", FeedbackBody),
                    201: Answer("The image is new", FeedbackBody),
                },
                errors=(*BODY_ERRORS, *IMAGE_ERRORS, *errors),
                parameters=PARAMETERS,
                content={**form(fields, optional={"new"}), "image/*": FILE, "application/octet-stream": FILE},
            ),
            Endpoint(
                "GET",
                "/feedback",
                self.counts,
                "How many images are stored.",
                answers={200: Answer("By label", FeedbackCounts)},
                errors=(FeedbackOff,),
            ),
        )

    async def correct(self, request: Request) -> Response:
        folder = self._folder()
        check_parameters(request.query_params, PARAMETERS)
        with self.bodies.reserve() as reservation:
            received = await self._read(request, reservation)
            label = check_label(received.label, self.champion.current.classifier.labels, new=received.new)
            async with self.admission.admit(1):
                await self.decoders.check(received.image)
                stored = await self._on_disk(_store, folder, received.image, label)
        self.metrics.feedback.inc()
        return JSONResponse(stored.model_dump(), 200 if stored.previous else 201)

    async def counts(self, _: Request) -> Response:
        folder = self._folder()
        async with self.admission.admit(1):
            return JSONResponse({"images": await self._on_disk(folder.counts)})

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)

    def _folder(self) -> FeedbackFolder:
        settings = self.settings
        if settings.feedback is None:
            raise FeedbackOff(
                "This service stores no corrected images; setting HANDFUL_FEEDBACK to a folder allows it."
            )
        return FeedbackFolder(
            settings.feedback.expanduser(), int(settings.max_feedback_megabytes * 1e6), settings.max_feedback_images
        )

    async def _read(self, request: Request, reservation: Reservation) -> FeedbackForm:
        limit_bytes = int(self.settings.max_image_megabytes * 1e6) + 3 * OVERHEAD_BYTES
        seconds = self.settings.body_seconds
        body = await read_body(request.headers, request.receive, limit_bytes, seconds, reservation)
        content_type, query = request.headers.get("content-type", ""), request.query_params
        return await off_loop(partial(parse_form, content_type, body, query), len(body))


def _store(folder: FeedbackFolder, image: bytes, label: str) -> FeedbackBody:
    try:
        return folder.store(image, label)
    except OSError as e:
        if e.errno in NO_SPACE_ERRNOS:
            raise DiskFull("The disk has no space for the image.") from e
        raise FeedbackOff(f"The folder for corrected images cannot be written: {e.strerror}.") from e
