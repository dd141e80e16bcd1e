"""The calls about retraining the default model: send photos, look at jobs, cancel one. `worker.py` does the work."""

from __future__ import annotations

from typing import get_args

from handful.service.http.body import BODY_ERRORS
from handful.service.http.endpoint import FILE, Answer, Endpoint, Parameter, check_parameters, form
from handful.service.http.errors import (
    ArchiveError,
    DiskFull,
    FieldMissing,
    NotReady,
    ParameterWrong,
    RetrainOff,
    TooManyJobs,
)
from handful.service.http.filenames import quoted
from handful.service.http.schemas import JobBody, JobsBody, Promote
from handful.service.jobs.job_calls import JobCalls, job_body, job_summary, json_response
from handful.service.jobs.starting import JobStarter
from handful.service.jobs.worker import JobWorker
from handful.service.settings import Settings
from starlette.requests import Request
from starlette.responses import Response

PARAMETERS = (Parameter("promote", {"enum": list(get_args(Promote)), "default": "auto"}),)


class RetrainRoutes:
    """One per worker."""

    def __init__(self, settings: Settings, retraining: JobWorker, starter: JobStarter) -> None:
        self.retraining, self.starter = retraining, starter
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
            Endpoint("GET", "/retrain", self.jobs, "The retrainings.", answers={200: Answer("Newest first", JobsBody)}),
            *JobCalls(retraining).below("/retrain"),
        )

    async def retrain(self, request: Request) -> Response:
        name, promote = self.retraining.name(), promote_of(request)
        labels = self.retraining.champion.current.classifier.labels
        job = await self.starter.with_zip(request, name, "retrain", promote, labels)
        return json_response(job_body(job), 202, {"Location": f"/retrain/{job.job}"})

    async def jobs(self, _: Request) -> Response:
        jobs = await self.retraining.call(self.retraining.table.all)
        return json_response(JobsBody(jobs=[job_summary(job) for job in jobs if job.kind == "retrain"]))


def promote_of(request: Request) -> Promote:
    """Of the query. Raises `ParameterWrong`."""
    check_parameters(request.query_params, PARAMETERS)
    value = request.query_params.get("promote", "auto")
    for allowed in get_args(Promote):
        if value == allowed:
            return allowed  # type: ignore[no-any-return]  # get_args has no types
    raise ParameterWrong(f"promote is {quoted(value)}; {', '.join(get_args(Promote))} are allowed.")
