"""The calls about feedback: an image with its right label in, counts out. Knows HTTP; `feedback.py` does the work."""

from __future__ import annotations

import asyncio

from handful.service.artifact.errors import ImageError
from handful.service.feedback.folder import FeedbackFolder, check_image, check_label
from handful.service.feedback.form import check_parameters, correction
from handful.service.http.body import OVERHEAD_BYTES, read_body
from handful.service.http.capacity import Room
from handful.service.http.errors import DiskFull, FeedbackOff, status_of
from handful.service.http.metrics import Metrics
from handful.service.http.schemas import error_body
from handful.service.jobs.archive import FULL
from handful.service.serving.champion import ChampionWatcher
from handful.service.settings import Settings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class FeedbackCalls:
    """One a worker; `held` is the room for bodies that it shares with the other calls."""

    def __init__(self, settings: Settings, champion: ChampionWatcher, metrics: Metrics, held: Room) -> None:
        self.settings, self.champion, self.metrics, self.held = settings, champion, metrics, held
        self.routes = [Route("/feedback", self.correct, methods=["POST"]), Route("/feedback", self.counts)]

    def folder(self) -> FeedbackFolder:
        """Raises `FeedbackOff` where none is set."""
        settings = self.settings
        if settings.feedback is None:
            raise FeedbackOff("This service keeps no corrections; HANDFUL_FEEDBACK, a folder, switches that on.")
        return FeedbackFolder(
            settings.feedback.expanduser(), int(settings.max_feedback_megabytes * 1e6), settings.max_feedback_images
        )

    async def correct(self, request: Request) -> Response:
        folder, limits = self.folder(), self.settings
        check_parameters(request.query_params, {"label", "new"})
        limit_bytes = int(limits.max_image_megabytes * 1e6) + 3 * OVERHEAD_BYTES
        with self.held.lease() as lease:
            body = await read_body(request.headers, request.receive, limit_bytes, limits.body_seconds, lease)
            given = correction(request.headers.get("content-type", ""), body, request.query_params)
            del body
            known = self.champion.current.classifier.labels
            label = check_label(given.label, known, new=given.new)
            try:
                await asyncio.to_thread(check_image, given.image, limits.max_image_megabytes, limits.max_megapixels)
            except ImageError as e:
                self.metrics.errors.labels(e.code).inc()
                return JSONResponse(error_body(e.code, str(e)), status_of(e))
            try:
                stored = await asyncio.to_thread(folder.store, given.image, label)
            except OSError as e:
                if e.errno in FULL:
                    raise DiskFull("There is no room on the disk for the image.") from e
                raise FeedbackOff(f"The folder for corrections cannot be written: {e.strerror}.") from e
        self.metrics.feedback.inc()
        return JSONResponse(stored.model_dump(), 200 if stored.previous else 201)

    async def counts(self, _: Request) -> Response:
        return JSONResponse({"images": await asyncio.to_thread(self.folder().counts)})
