"""The calls of Label Studio's machine-learning backends: its documented contract, without its library."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import NamedTuple

from handful.service.artifact.errors import HandfulError, ImageError
from handful.service.artifact.label_names import normal_label
from handful.service.http.body import BODY_ERRORS, IMAGE_ERRORS
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.errors import (
    AnyError,
    DiskFull,
    JsonBroken,
    LabelWrong,
    NotReady,
    RequestError,
    RetrainOff,
    TooManyJobs,
)
from handful.service.http.json_request import json_content, read_json
from handful.service.http.label_studio_errors import AddressRefused, LabelConfigWrong, LabelStudioOff, PhotoNotFetched
from handful.service.http.library_errors import LibraryFull, ModelUnknown, NothingToLearn, TooFewPhotos
from handful.service.http.model_errors import ModelTooLarge
from handful.service.jobs.starting import JobStarter
from handful.service.label_studio.label_config import LabelConfig
from handful.service.label_studio.photos import LabelStudioPhotos, studio_file_name
from handful.service.label_studio.requests import (
    EventBody,
    EventRequest,
    HealthBody,
    SetupBody,
    SetupRequest,
    StudioPrediction,
    StudioTask,
    TaskAnswersBody,
    TasksRequest,
)
from handful.service.library.adding import PhotoUploads, keep_one
from handful.service.library.disk import DISK_ERRORS, LibraryDisk
from handful.service.library.labels import check_new_label
from handful.service.library.learned import champion_folder
from handful.service.library.thumbnails import SIDE
from handful.service.serving.predictor import Predictor
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

AT_ONCE = 4  # photos that are fetched and answered
LEARN_AFTER = 24  # annotations, as on the page
ANNOTATED = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"})
START = "START_TRAINING"
BODY_MEGABYTES = 1.5  # per MB of photo: base64, and what else a task says
logger = logging.getLogger(__name__)


class _Model(NamedTuple):
    name: str
    version: str | None  # None before the first


class LabelStudioRoutes:
    """One per worker. `bodies` limits the bytes of all request bodies and photos in its memory."""

    def __init__(
        self, disk: LibraryDisk, uploads: PhotoUploads, predictor: Predictor, starter: JobStarter, bodies: Capacity
    ) -> None:
        self.disk, self.uploads, self.predictor, self.starter, self.bodies = disk, uploads, predictor, starter, bodies
        self.settings = disk.settings
        self.photos = LabelStudioPhotos(self.settings)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._since = Counter[str]()  # annotations since the last learning, by model
        self.limit_bytes = int(BODY_MEGABYTES * self.settings.max_image_megabytes * 1e6) + 2_000_000
        self.endpoints = (*self._below("", ()), *self._below("/models/{name}", (ModelUnknown, ModelTooLarge)))

    def _below(self, prefix: str, missing: tuple[AnyError, ...]) -> tuple[Endpoint, ...]:
        off = "" if self.settings.label_studio else "; off here"
        asking = (LabelStudioOff, NotReady, *missing, *BODY_ERRORS, JsonBroken, LabelConfigWrong)
        fetching = (*IMAGE_ERRORS, AddressRefused, PhotoNotFetched)
        learning = (
            *DISK_ERRORS,
            LabelWrong,
            LibraryFull,
            TooFewPhotos,
            NothingToLearn,
            RetrainOff,
            TooManyJobs,
            DiskFull,
        )
        return (
            Endpoint(
                "GET",
                f"{prefix}/label-studio/health",
                self.health,
                f"For Label Studio: the service runs{off}.",
                answers={200: Answer("UP", HealthBody)},
                errors=(LabelStudioOff,),
            ),
            Endpoint(
                "POST",
                f"{prefix}/label-studio/setup",
                self.setup,
                f"For Label Studio: which version answers a project{off}.",
                answers={200: Answer("The version", SetupBody)},
                errors=(*asking, *DISK_ERRORS),
                content=json_content(SetupRequest),
            ),
            Endpoint(
                "POST",
                f"{prefix}/label-studio/predict",
                self.predict,
                f"For Label Studio: predictions for tasks{off}.",
                answers={200: Answer("In the order of the tasks", TaskAnswersBody)},
                errors=(*asking, *fetching, *DISK_ERRORS),
                content=json_content(TasksRequest),
            ),
            Endpoint(
                "POST",
                f"{prefix}/label-studio/webhook",
                self.webhook,
                f"For Label Studio: annotations to learn from; every {LEARN_AFTER} start a job{off}.",
                answers={200: Answer("What became of them", EventBody)},
                errors=(*asking, *fetching, *learning),
                content=json_content(EventRequest),
            ),
        )

    async def health(self, _: Request) -> Response:
        self._check_on()
        return _json(HealthBody(status="UP", model_class="handful"))

    async def setup(self, request: Request) -> Response:
        model = await self._model(request)
        asked = await read_json(request, SetupRequest, self.settings.body_seconds, self.bodies, self.limit_bytes)
        LabelConfig.parse(asked.label_config)
        return _json(SetupBody(model_version=model.version))

    async def predict(self, request: Request) -> Response:
        model = await self._model(request)
        limit_bytes = int(self.settings.max_request_megabytes * 1e6)
        asked = await read_json(request, TasksRequest, self.settings.body_seconds, self.bodies, limit_bytes)
        config = LabelConfig.parse(asked.label_config)
        tasks = asked.tasks if len(asked.tasks) <= self.settings.max_images else asked.tasks[:1]
        if model.version is None:
            return _json(TaskAnswersBody(results=[[] for _ in tasks]))
        answers = await asyncio.gather(*(self._answer(task, config, model.name) for task in tasks))
        errors = [each for each in answers if isinstance(each, HandfulError)]
        if errors and len(tasks) == 1:
            raise errors[0]
        if errors:
            logger.warning("%d of %d tasks of Label Studio have no answer: %s", len(errors), len(tasks), errors[0])
        return _json(TaskAnswersBody(results=[[] if isinstance(each, HandfulError) else each for each in answers]))

    async def webhook(self, request: Request) -> Response:
        model = await self._model(request)
        asked = await read_json(request, EventRequest, self.settings.body_seconds, self.bodies, self.limit_bytes)
        if asked.action == START:
            await self._learn(model)
            return _json(EventBody(status="ok", stored=0, learning=True))
        if asked.action not in ANNOTATED:
            return _json(EventBody(status="ignored", stored=0, learning=False))
        config, stored = LabelConfig.parse(asked.project.label_config), 0
        for annotation, task in asked.annotated:
            label = None if annotation.was_cancelled else config.label_of(annotation.result)
            if label is not None:
                stored += await self._store(task, config, check_new_label(label), model.name)
        self._since[model.name] += stored
        return _json(EventBody(status="ok", stored=stored, learning=await self._learned_enough(model)))

    def _check_on(self) -> None:
        if not self.settings.label_studio:
            raise LabelStudioOff("Label Studio's calls are not answered here; `handful serve --label-studio` does so.")

    async def _model(self, request: Request) -> _Model:
        """That of the path, or the default one. Raises `LabelStudioOff`, `ModelUnknown` or `NotReady`."""
        self._check_on()
        name = request.path_params.get("name") or self.predictor.models.default_name
        if name is None:
            raise NotReady("There is no model yet; make one, or name it in the address: /models/NAME/label-studio.")
        await self.disk.library(name)
        try:
            return _Model(name, (await self.predictor.models.version(name)).model)
        except (ModelUnknown, NotReady):
            return _Model(name, None)

    async def _answer(self, task: StudioTask, config: LabelConfig, name: str) -> StudioPrediction | HandfulError:
        try:
            async with self._at_once:
                image = await self._photo(task, config)
                with self.bodies.reserve(len(image)):
                    async with self.predictor.admission.admit(1):
                        version, (answer,) = await self.predictor.answer([image], name)
        except RequestError as e:
            return e
        if isinstance(answer, ImageError):
            return answer
        label = normal_label(answer.label or "")
        if label not in config.choices:
            return StudioPrediction(result=[], score=0.0, model_version=version.model)
        result = config.result(label, answer.confidence)
        return StudioPrediction(result=[result], score=answer.confidence, model_version=version.model)

    async def _photo(self, task: StudioTask, config: LabelConfig) -> bytes:
        address = task.data.get(config.field)
        if not isinstance(address, str):
            raise JsonBroken(
                f"The task's data have no text {config.field!r}, in which its photo's address is expected."
            )
        return await self.photos.fetch(address)

    async def _store(self, task: StudioTask, config: LabelConfig, label: str, name: str) -> bool:
        """Whether the photo lies under the label now, and did not before."""
        library = await self.disk.library(name)
        async with self._at_once:
            image = await self._photo(task, config)
            with self.bodies.reserve(len(image)):
                jpeg = await self.uploads.decoders.thumbnail(image, SIDE)
                filename = studio_file_name(str(task.data[config.field]))
                kept = await self.disk.call(keep_one, library, image, filename, jpeg, label)
        self.uploads.metrics.feedback.inc()
        return not (kept.same and kept.photo.label == label)

    async def _learned_enough(self, model: _Model) -> bool:
        """Starts a job after some annotations, unless one waits or runs; says whether it did."""
        if self._since[model.name] < LEARN_AFTER:
            return False
        worker = self.starter.worker
        if any(job.name == model.name for job in await worker.call(worker.table.unfinished)):
            return False  # the next annotation tries again
        try:
            await self._learn(model)
        except RequestError as e:
            self._since[model.name] = 0
            logger.warning("The annotations of Label Studio are not learned yet: %s", e)
            return False
        return True

    async def _learn(self, model: _Model) -> None:
        self.starter.worker.check_on()
        library = await self.disk.library(model.name)
        trained = await self.disk.call(champion_folder, self.disk.home, model.name) is not None
        await self.starter.of_library(library, model.name, trained=trained)
        self._since[model.name] = 0


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
