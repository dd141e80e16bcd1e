"""The calls about retraining: send photos, look at jobs, cancel one. Knows HTTP; `worker.py` does the work."""

from __future__ import annotations

from typing import get_args

from handful.service.http.body import BODY_ERRORS, OVERHEAD_BYTES, archive_type, save_body, take_archive
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import FILE, Answer, Endpoint, Parameter, check_parameters, form
from handful.service.http.errors import (
    ArchiveError,
    DiskFull,
    FieldMissing,
    JobEnded,
    JobNotFound,
    NotReady,
    ParameterWrong,
    RetrainOff,
    TooManyJobs,
)
from handful.service.http.filenames import quoted
from handful.service.http.schemas import JobBody, JobsBody, JobSummary, Promote
from handful.service.jobs.job import Job
from handful.service.jobs.worker import MAX_UPLOADS, JobWorker
from handful.service.settings import Settings
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

PARAMETERS = (Parameter("promote", {"enum": list(get_args(Promote)), "default": "auto"}),)


class RetrainRoutes:
    """One per worker."""

    def __init__(self, settings: Settings, retraining: JobWorker) -> None:
        self.settings, self.retraining = settings, retraining
        self.uploads = Capacity(MAX_UPLOADS, "zips of photos")
        job = Answer("The job", JobBody)
        errors = (
            *ArchiveError.__subclasses__(),
            FieldMissing,
            ParameterWrong,
            RetrainOff,
            TooManyJobs,
            DiskFull,
            NotReady,
        )
        self.endpoints = (
            Endpoint(
                "POST",
                "/retrain",
                self.retrain,
                f"A zip of a labelled folder, at most {settings.max_retrain_megabytes:g} MB and"
                f" {settings.max_retrain_files} entries. A job adds it to what the served model has learned.",
                answers={202: Answer("The job", JobBody, headers=("Location",))},
                errors=(*BODY_ERRORS, *errors),
                parameters=PARAMETERS,
                content={"application/zip": FILE, **form({"photos": FILE})},
            ),
            Endpoint("GET", "/retrain", self.jobs, "The jobs.", answers={200: Answer("Newest first", JobsBody)}),
            Endpoint("GET", "/retrain/{job}", self.job, "How far a job is.", answers={200: job}, errors=(JobNotFound,)),
            Endpoint(
                "DELETE",
                "/retrain/{job}",
                self.cancel,
                "Cancels the job, unless it has ended.",
                answers={200: job, 202: Answer("The job has not ended yet", JobBody)},
                errors=(JobNotFound, JobEnded),
            ),
        )

    async def retrain(self, request: Request) -> Response:
        """Everything that can be refused without the body is refused before it is read."""
        name, promote, kind = self.retraining.name(), _promote(request), request.headers.get("content-type", "")
        archive_type(kind)
        limit_bytes = int(self.settings.max_retrain_megabytes * 1e6) + OVERHEAD_BYTES
        with self.uploads.reserve(1):
            async with self.retraining.upload() as upload:
                await self.retraining.call(self.retraining.table.check_queue, name, self.settings.max_jobs)
                body, archive = upload.folder / "body", upload.folder / "photos.zip"
                await save_body(request.headers, request.receive, limit_bytes, self.settings.upload_seconds, body)
                await self.retraining.call(take_archive, kind, body, archive)
                job = await self.retraining.add(upload, promote, archive)
        return _json(_body(job), 202, {"Location": f"/retrain/{job.job}"})

    async def jobs(self, _: Request) -> Response:
        jobs = await self.retraining.call(self.retraining.table.all)
        return _json(JobsBody(jobs=[_summary(job) for job in jobs]))

    async def job(self, request: Request) -> Response:
        return _json(_body(await self.retraining.call(self.retraining.table.read, request.path_params["job"])))

    async def cancel(self, request: Request) -> Response:
        job = await self.retraining.cancel(request.path_params["job"])
        return _json(_body(job), 200 if job.finished_at else 202)


def _promote(request: Request) -> Promote:
    check_parameters(request.query_params, PARAMETERS)
    value = request.query_params.get("promote", "auto")
    for allowed in get_args(Promote):
        if value == allowed:
            return allowed  # type: ignore[no-any-return]  # get_args has no types
    raise ParameterWrong(f"promote is {quoted(value)}; {', '.join(get_args(Promote))} are allowed.")


def _body(job: Job) -> JobBody:
    return JobBody(**job.model_dump(exclude={"cancel_requested"}))


def _summary(job: Job) -> JobSummary:
    return JobSummary(**job.model_dump(exclude={"cancel_requested", "result"}))


def _json(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, headers, media_type="application/json")
