"""The ASGI application: every call in one list, and the work that runs beside the answers. Knows nothing of bentoml."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from handful.service.decoding.decoders import Decoders
from handful.service.feedback.routes import FeedbackRoutes
from handful.service.http.auth import AuthMiddleware
from handful.service.http.capacity import Admission, Capacity
from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.openapi import openapi_document
from handful.service.jobs.routes import RetrainRoutes
from handful.service.jobs.worker import JobWorker
from handful.service.serving.champion import ChampionWatcher
from handful.service.serving.deadline import Deadline
from handful.service.serving.predictor import Predictor
from handful.service.serving.routes import ServingRoutes
from handful.service.settings import Settings
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Router
from starlette.types import ASGIApp

PAGE = Path(__file__).with_name("page") / "index.html"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src blob:",
    "X-Frame-Options": "DENY",
}


class Api:
    """One per worker: `app` is the ASGI application, `running` does the work beside it."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, ServiceMetrics()
        self.champion = ChampionWatcher(settings, self.metrics)
        self.decoders = Decoders(settings, self.metrics)
        admission = Admission(settings.max_waiting_images, settings.answer_seconds)
        self.predictor = Predictor(settings, self.champion, self.metrics, self.decoders, admission)
        self.retraining = JobWorker(settings, self.champion, self.metrics)
        bodies = Capacity(int(settings.max_held_megabytes * 1e6), "bytes of uploads")
        self.endpoints = (
            *ServingRoutes(settings, self.champion, self.predictor, bodies).endpoints,
            *RetrainRoutes(settings, self.retraining).endpoints,
            *FeedbackRoutes(settings, self.champion, self.metrics, bodies, self.decoders, admission).endpoints,
            *self._own_endpoints(),
        )
        self._metrics_thread = ThreadPoolExecutor(1, "metrics")  # nothing else that a client asks for holds it up
        self.document = openapi_document(self.endpoints, has_key=settings.api_key is not None)
        self.app = self._app()

    def _own_endpoints(self) -> tuple[Endpoint, ...]:
        text = Answer("Text", str, "text/plain")
        return (
            Endpoint("GET", "/livez", self.livez, "The process answers.", answers={200: text}),
            Endpoint("GET", "/healthz", self.livez, "The same as /livez.", answers={200: text}),
            Endpoint("GET", "/metrics", self.show_metrics, "Counts for Prometheus.", answers={200: text}),
            Endpoint(
                "GET",
                "/openapi.json",
                self.openapi,
                "This document.",
                answers={200: Answer("OpenAPI 3.1", dict[str, object])},
            ),
            Endpoint(
                "GET", "/", self.page, "A page to try the service.", answers={200: Answer("The page", str, "text/html")}
            ),
        )

    def _app(self) -> ASGIApp:
        router = Router([endpoint.route() for endpoint in self.endpoints], redirect_slashes=False)
        paths = frozenset(endpoint.path for endpoint in self.endpoints)
        app: ASGIApp = AuthMiddleware(Deadline(router, self.settings), self.settings, self.metrics, paths)
        origins = self.settings.cors_origins
        return CORSMiddleware(app, origins, allow_methods=["*"], allow_headers=["*"]) if origins else app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Until the block ends, the champion is followed, batches are computed and jobs are run."""
        work = (self.champion.follow(), self.predictor.batcher.run(), self.retraining.follow())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.decoders.close()

    async def livez(self, _: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def show_metrics(self, _: Request) -> Response:
        text = await asyncio.get_running_loop().run_in_executor(self._metrics_thread, self.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(self.document)

    async def page(self, _: Request) -> Response:
        return FileResponse(PAGE, headers=PAGE_HEADERS)
