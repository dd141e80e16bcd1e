"""The ASGI application: every call in one list, and the work that runs beside the answers. Knows nothing of bentoml."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from handful.service.decoding.decoders import Decoders
from handful.service.explain.process import Explainer
from handful.service.explain.routes import ExplainRoutes
from handful.service.feedback.routes import FeedbackRoutes
from handful.service.http.auth import AuthMiddleware
from handful.service.http.capacity import Admission, Capacity
from handful.service.http.endpoint import Answer, Endpoint, methods_by_path
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.one_image import OneImage
from handful.service.http.openapi import openapi_document
from handful.service.http.tracing import Tracing, TracingMiddleware
from handful.service.jobs.model_routes import ModelJobRoutes
from handful.service.jobs.output_routes import OutputRoutes
from handful.service.jobs.routes import RetrainRoutes
from handful.service.jobs.starting import JobStarter
from handful.service.jobs.worker import JobWorker
from handful.service.label_studio.routes import LabelStudioRoutes
from handful.service.labelling.routes import LabellingRoutes
from handful.service.library.adding import PhotoUploads
from handful.service.library.correction_routes import CorrectionRoutes
from handful.service.library.disk import LibraryDisk
from handful.service.library.routes import LibraryRoutes
from handful.service.models.disk import Disk
from handful.service.models.following import Follower
from handful.service.models.routes import ModelRoutes
from handful.service.models.version_routes import VersionRoutes
from handful.service.page.routes import PAGE_ENDPOINTS
from handful.service.page.thumbnails import SmallPictures
from handful.service.serving.deadline import Deadline
from handful.service.serving.predictor import Predictor
from handful.service.serving.routes import ServingRoutes
from handful.service.serving.served import ServedModels
from handful.service.settings import Settings
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Router
from starlette.types import ASGIApp


class Api:
    """One per worker: `app` is the ASGI application, `running` does the work beside it."""

    def __init__(self, settings: Settings, schema: Mapping[str, object] | None = None) -> None:
        """`schema` is what BentoML's clients read."""
        self.schema = schema or {}
        self.settings, self.metrics, self.tracing = settings, ServiceMetrics(), Tracing.from_environ()
        self.models = ServedModels(settings, self.metrics)
        self.champion = self.models.default
        self.follower = Follower(settings, self.metrics)
        self.decoders = Decoders(settings, self.metrics)
        self.explainer = Explainer(settings.answer_seconds, settings.explain_idle_seconds)
        admission = Admission(settings.max_waiting_images, settings.answer_seconds)
        self.predictor = Predictor(settings, self.models, self.metrics, self.decoders, admission, self.tracing)
        self.retraining = JobWorker(settings, self.champion, self.metrics)
        bodies = Capacity(int(settings.max_held_megabytes * 1e6), "bytes of uploads")
        images = OneImage(settings, bodies, admission)
        self.serving = ServingRoutes(settings, self.models, self.predictor, images)
        self.libraries, disk, starter = LibraryDisk(settings), Disk(), JobStarter(settings, self.retraining)
        uploads = PhotoUploads(self.libraries, self.decoders, self.metrics)
        self.labelling = LabellingRoutes(self.libraries, uploads, self.predictor, bodies)
        self.of_models = ModelRoutes(settings, self.models, bodies, disk, self._models_of_jobs)
        self.endpoints = (
            *self.serving.endpoints,
            *self.of_models.endpoints,
            *VersionRoutes(settings, disk, self._library_ids).endpoints,
            *ExplainRoutes(self.models, images, self.decoders, self.explainer).endpoints,
            *SmallPictures(images, self.decoders).endpoints,
            *LibraryRoutes(self.libraries, uploads, bodies).endpoints,
            *self.labelling.endpoints,
            *CorrectionRoutes(self.libraries, uploads, bodies).endpoints,
            *RetrainRoutes(settings, self.retraining, starter).endpoints,
            *ModelJobRoutes(self.retraining, starter, self.libraries, bodies).endpoints,
            *OutputRoutes(settings, self.retraining, starter, bodies).endpoints,
            *FeedbackRoutes(settings, self.champion, self.metrics, bodies, self.decoders, admission).endpoints,
            *LabelStudioRoutes(self.libraries, uploads, self.predictor, starter, bodies).endpoints,
            *self._own_endpoints(),
        )
        self._metrics_thread = ThreadPoolExecutor(1, "metrics")  # nothing else that a client asks for holds it up
        self.document = openapi_document(self.endpoints, has_key=bool(settings.api_keys))
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
                "GET",
                "/schema.json",
                self.bentoml_schema,
                "What bentoml.SyncHTTPClient and AsyncHTTPClient ask first.",
                answers={200: Answer("A description of predict and predict_many", dict[str, object])},
            ),
            *PAGE_ENDPOINTS,
        )

    def _app(self) -> ASGIApp:
        router = Router([endpoint.route() for endpoint in self.endpoints], redirect_slashes=False)
        guarded = Deadline(router, self.settings)
        checked = AuthMiddleware(guarded, self.settings, self.metrics, methods_by_path(self.endpoints))
        tracer = self.tracing.tracer
        app: ASGIApp = TracingMiddleware(checked, tracer, checked.route_of) if tracer else checked
        origins = self.settings.cors_origins
        return CORSMiddleware(app, origins, allow_methods=["*"], allow_headers=["*"]) if origins else app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Until the block ends, the champion is followed, batches are computed and jobs are run."""
        gc.freeze()  # what torch and timm have made stays; searching it for garbage takes a second, in silence
        work = (
            *(self.models.follow(), self.of_models.follow()),
            *(self.predictor.batcher.run(), self.retraining.follow(), self.follower.follow(), self.labelling.follow()),
        )
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            self.explainer.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.decoders.close()
            self.tracing.close()

    def _library_ids(self, name: str) -> Callable[[], Collection[str]]:
        """What reads, on the disk, the ids of the photos in a model's library."""
        library = self.libraries.of_name(name)
        return lambda: {photo.id for photo in library.photos()}

    def _models_of_jobs(self) -> set[str]:
        return {job.name for job in self.retraining.table.unfinished()}

    async def livez(self, _: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def show_metrics(self, _: Request) -> Response:
        text = await asyncio.get_running_loop().run_in_executor(self._metrics_thread, self.metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(self.document)

    async def bentoml_schema(self, _: Request) -> Response:
        return JSONResponse(self.schema)
