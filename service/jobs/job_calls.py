"""Looking at one job and cancelling it: the same calls below /jobs and, for the default model, below /retrain."""

from __future__ import annotations

from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.errors import JobEnded, JobNotFound
from handful.service.http.schemas import JobBody, JobSummary
from handful.service.jobs.job import Job
from handful.service.jobs.worker import JobWorker
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

OWN = {"cancel_requested", "options", "starts"}  # what of a job is not shown


class JobCalls:
    """One per worker."""

    def __init__(self, worker: JobWorker) -> None:
        self.worker = worker

    def below(self, path: str) -> tuple[Endpoint, ...]:
        job = Answer("The job", JobBody)
        return (
            Endpoint("GET", f"{path}/{{job}}", self.show, "How far a job is.", {200: job}, errors=(JobNotFound,)),
            Endpoint(
                "DELETE",
                f"{path}/{{job}}",
                self.cancel,
                "Cancels the job, unless it has ended.",
                answers={200: job, 202: Answer("The job has not ended yet", JobBody)},
                errors=(JobNotFound, JobEnded),
            ),
        )

    async def asked_for(self, request: Request) -> Job:
        """The job in the path. Raises `JobNotFound`."""
        return await self.worker.call(self.worker.table.read, request.path_params["job"])

    async def show(self, request: Request) -> Response:
        return json_response(job_body(await self.asked_for(request)))

    async def cancel(self, request: Request) -> Response:
        job = await self.worker.cancel(request.path_params["job"])
        return json_response(job_body(job), 200 if job.finished_at else 202)


def job_body(job: Job) -> JobBody:
    return JobBody(**job.model_dump(exclude=OWN))


def job_summary(job: Job) -> JobSummary:
    return JobSummary(**job.model_dump(exclude={*OWN, "result"}))


def json_response(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, headers, media_type="application/json")
