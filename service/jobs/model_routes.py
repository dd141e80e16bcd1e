"""The calls about jobs of every model: train, retrain, evaluate; look at jobs, follow one, cancel it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Literal

from handful.service.http.body import BODY_ERRORS, JSON
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import FILE, TEXT, Answer, Endpoint, Parameter, check_parameters, form
from handful.service.http.errors import (
    AnyError,
    ArchiveError,
    DiskFull,
    FieldMissing,
    JobNotFound,
    JsonBroken,
    NotReady,
    ParameterWrong,
    RetrainOff,
    TooManyJobs,
)
from handful.service.http.filenames import quoted
from handful.service.http.json_request import JsonRequest, json_content, read_json, read_optional_json
from handful.service.http.library_errors import NothingToLearn, TooFewPhotos
from handful.service.http.multipart import media_type
from handful.service.http.schemas import JobBody, JobsBody, Promote
from handful.service.jobs.events import job_events
from handful.service.jobs.job import Job, JobOptions
from handful.service.jobs.job_calls import JobCalls, job_body, job_summary, json_response
from handful.service.jobs.routes import PARAMETERS, promote_of
from handful.service.jobs.starting import JobStarter
from handful.service.jobs.worker import JobWorker
from handful.service.library.disk import DISK_ERRORS, LibraryDisk
from handful.service.library.learned import champion_folder, version_labels
from handful.service.library.snapshot import copy_all, copy_to_measure, copy_waiting
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

MAX_STREAMS = 64  # of events, per worker
JOBS_PARAMETERS = (Parameter("model", TEXT),)
ZIP_OR_LIBRARY = "A zip as for /retrain, or the photo library"


class TrainRequest(JsonRequest):
    """How to learn the photos of the library."""

    backbone: str | None = Field(None, description="one of HANDFUL_BACKBONES; null: the first of them")
    finetune: bool = False
    promote: Literal["auto", "always"] = Field(
        "auto", description="always: the new version is used at once; auto: the first one of a model is"
    )


class LibraryJobRequest(JsonRequest):
    """That the photos come from the library."""

    source: Literal["library"] = Field(alias="from")
    promote: Promote = "auto"


class ModelJobRoutes:
    """One per worker. `bodies` limits the bytes of all request bodies in its memory."""

    def __init__(self, worker: JobWorker, starter: JobStarter, disk: LibraryDisk, bodies: Capacity) -> None:
        self.worker, self.starter, self.disk, self.bodies, self.settings = worker, starter, disk, bodies, disk.settings
        self.calls = JobCalls(worker)
        self.streams = Capacity(MAX_STREAMS, "streams of events")
        self.endpoints = (*self._starting(), *self._looking())

    def _starting(self) -> tuple[Endpoint, ...]:
        answers = {202: Answer("The job", JobBody, headers=("Location",))}
        errors: tuple[AnyError, ...] = (*DISK_ERRORS, *BODY_ERRORS, RetrainOff, TooManyJobs, DiskFull, JsonBroken)
        with_zip = (*errors, *ArchiveError.__subclasses__(), FieldMissing, ParameterWrong, NotReady, TooFewPhotos)
        content = {"application/zip": FILE, **form({"photos": FILE}), **json_content(LibraryJobRequest)}
        return (
            Endpoint(
                "POST",
                "/models/{name}/train",
                self.train,
                "A job learns the photos of the library, from nothing.",
                answers=answers,
                errors=(*errors, TooFewPhotos),
                content=json_content(TrainRequest),
            ),
            Endpoint(
                "POST",
                "/models/{name}/retrain",
                self.retrain,
                f"{ZIP_OR_LIBRARY}: what the champion has not learned. A job adds it to what the champion knows.",
                answers=answers,
                errors=(*with_zip, NothingToLearn),
                parameters=PARAMETERS,
                content=content,
            ),
            Endpoint(
                "POST",
                "/models/{name}/evaluate",
                self.evaluate,
                f"{ZIP_OR_LIBRARY}. A job measures the champion on it.",
                answers=answers,
                errors=with_zip,
                content=content,
            ),
        )

    def _looking(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "GET",
                "/jobs",
                self.jobs,
                "All jobs, or those of one model.",
                answers={200: Answer("Newest first", JobsBody)},
                errors=(ParameterWrong,),
                parameters=JOBS_PARAMETERS,
            ),
            *self.calls.below("/jobs"),
            Endpoint(
                "GET",
                "/jobs/{job}/events",
                self.events,
                "The job as server-sent events: `progress` when something changed, `end` with the whole job.",
                answers={200: Answer("Until the job has ended", str, "text/event-stream")},
                errors=(JobNotFound,),
            ),
        )

    async def train(self, request: Request) -> Response:
        self.worker.check_on()
        name = request.path_params["name"]
        library = await self.disk.library(name)
        asked = await read_optional_json(request, TrainRequest, self.settings.body_seconds, self.bodies)
        options = JobOptions(source="library", backbone=self._backbone(asked.backbone), finetune=asked.finetune)
        copy = partial(copy_all, library)
        return _accepted(await self.starter.with_library(copy, name, "train", asked.promote, options))

    async def retrain(self, request: Request) -> Response:
        name, labels = await self._trained(request)
        promote = promote_of(request)
        if not _is_json(request.headers):
            return _accepted(await self.starter.with_zip(request, name, "retrain", promote, labels))
        asked = await read_json(request, LibraryJobRequest, self.settings.body_seconds, self.bodies)
        promote = promote if "promote" in request.query_params else asked.promote
        copy = partial(copy_waiting, await self.disk.library(name), name)
        options = JobOptions(source="library")
        return _accepted(await self.starter.with_library(copy, name, "retrain", promote, options))

    async def evaluate(self, request: Request) -> Response:
        name, labels = await self._trained(request)
        check_parameters(request.query_params, ())
        if not _is_json(request.headers):
            return _accepted(await self.starter.with_zip(request, name, "evaluate", "never", labels))
        await read_json(request, LibraryJobRequest, self.settings.body_seconds, self.bodies)
        copy = partial(copy_to_measure, await self.disk.library(name))
        options = JobOptions(source="library")
        return _accepted(await self.starter.with_library(copy, name, "evaluate", "never", options))

    async def jobs(self, request: Request) -> Response:
        check_parameters(request.query_params, JOBS_PARAMETERS)
        model = request.query_params.get("model")
        jobs = await self.worker.call(self.worker.table.all)
        return json_response(JobsBody(jobs=[job_summary(job) for job in jobs if model in {None, job.name}]))

    async def events(self, request: Request) -> Response:
        job = await self.calls.asked_for(request)
        with self.streams.reserve(1):
            pass  # raises before the answer begins

        async def stream() -> AsyncIterator[str]:
            with self.streams.reserve(1):
                async for event in job_events(self.worker, job):
                    yield event

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _trained(self, request: Request) -> tuple[str, tuple[str, ...]]:
        """The model's name and labels. Raises `ModelUnknown`, `RetrainOff`, or `NotReady` for one without a version."""
        self.worker.check_on()
        name = request.path_params["name"]
        await self.disk.library(name)
        champion = await self.disk.call(champion_folder, self.disk.home, name)
        if champion is None:
            raise NotReady(f"{name} has no version yet; train it first.")
        return name, await self.disk.call(version_labels, champion)

    def _backbone(self, asked: str | None) -> str:
        allowed = self.settings.backbones
        if asked is not None and asked not in allowed:
            raise JsonBroken(f"The backbone is {quoted(asked)}; {', '.join(allowed)} are allowed.")
        return asked or allowed[0]


def _is_json(headers: Mapping[str, str]) -> bool:
    return media_type(headers.get("content-type", "")) == JSON


def _accepted(job: Job) -> Response:
    return json_response(job_body(job), 202, {"Location": f"/jobs/{job.job}"})
