"""The routes: what each call takes and answers. Knows HTTP, not bentoml."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from handful.service.artifact.errors import ImageError
from handful.service.classifier import Prediction
from handful.service.feedback.routes import FeedbackCalls
from handful.service.http.auth import Guard
from handful.service.http.body import OVERHEAD_BYTES, multipart_images, read_body, single_image
from handful.service.http.capacity import Lease, Room
from handful.service.http.errors import status_of
from handful.service.http.metrics import Metrics
from handful.service.http.openapi import openapi_document
from handful.service.http.schemas import error_body, prediction_body
from handful.service.jobs.routes import RetrainCalls
from handful.service.jobs.worker import JobWorker
from handful.service.serving.champion import ChampionWatcher, LoadedVersion
from handful.service.serving.predictor import Predictor
from handful.service.settings import Settings
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

PAGE = Path(__file__).with_name("page") / "index.html"
SAFE = {"Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src blob:", "X-Frame-Options": "DENY"}


class Web:
    """One worker's answers; `app` is the ASGI application, `running` what happens beside it."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.champion = ChampionWatcher(settings, self.metrics)
        self.predictor = Predictor(settings, self.champion, self.metrics)
        self.held = Room(int(settings.max_held_megabytes * 1e6), "bytes of uploads")
        self.retraining = JobWorker(settings, self.champion, self.metrics)
        self.document = openapi_document(settings)
        self.app = self._app()

    def _app(self) -> ASGIApp:
        routes = [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/predict_many", self.predict_many, methods=["POST"]),
            *RetrainCalls(self.settings, self.retraining).routes,
            *FeedbackCalls(self.settings, self.champion, self.metrics, self.held).routes,
            Route("/model", self.model),
            Route("/livez", self.livez),
            Route("/healthz", self.livez),
            Route("/readyz", self.readyz),
            Route("/metrics", self.show_metrics),
            Route("/openapi.json", self.openapi),
            Route("/", self.page),
        ]
        app: ASGIApp = Guard(
            Router(routes, redirect_slashes=False),
            self.settings,
            self.metrics,
            frozenset(route.path for route in routes),
        )
        origins = self.settings.cors_origins
        return CORSMiddleware(app, origins, allow_methods=["*"], allow_headers=["*"]) if origins else app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The champion is followed, batches are made and jobs are run until the block ends."""
        work = (self.champion.follow(), self.predictor.batcher.run(), self.retraining.follow())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def predict(self, request: Request) -> Response:
        with self.held.lease() as lease:
            body = await self._body(request, self.settings.max_image_megabytes, 1, lease)
            image = single_image(request.headers.get("content-type", ""), body)
            del body
            served, (result,) = await self.predictor.classify([image])
        if isinstance(result, ImageError):
            return JSONResponse(error_body(result.code, str(result)), status_of(result))
        return JSONResponse(_entry(served, result))

    async def predict_many(self, request: Request) -> Response:
        most = self.settings.max_images
        with self.held.lease() as lease:
            body = await self._body(request, self.settings.max_request_megabytes, most, lease)
            images = multipart_images(request.headers.get("content-type", ""), body, field="images", most=most)
            del body
            served, results = await self.predictor.classify(images)
        return JSONResponse([_entry(served, result) for result in results])

    async def _body(self, request: Request, megabytes: float, parts: int, lease: Lease) -> bytearray:
        limit_bytes = int(megabytes * 1e6) + parts * OVERHEAD_BYTES
        return await read_body(request.headers, request.receive, limit_bytes, self.settings.body_seconds, lease)

    async def model(self, _: Request) -> Response:
        return Response(self.champion.current.card, media_type="application/json")

    async def livez(self, _: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(self, _: Request) -> Response:
        return PlainTextResponse(f"{self.champion.current.model}\n")

    async def show_metrics(self, _: Request) -> Response:
        text = await asyncio.to_thread(self.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(self.document)

    async def page(self, _: Request) -> Response:
        return FileResponse(PAGE, headers=SAFE)


def _entry(served: LoadedVersion, result: Prediction | ImageError) -> dict[str, object]:
    if isinstance(result, ImageError):
        return error_body(result.code, str(result))
    return prediction_body(served.model, served.classifier.labels, result)
