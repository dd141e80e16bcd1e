"""The calls about what jobs make: exported files, and the reports of evaluations."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import CARD
from handful.service.export.onnx_export import check_packages
from handful.service.http.body import BODY_ERRORS
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.errors import DiskFull, JobNotFound, JsonBroken, RetrainOff, TooManyJobs
from handful.service.http.json_request import JsonRequest, json_content, read_optional_json
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import ExportOff, NotKept
from handful.service.http.report_page import report_bytes, report_response
from handful.service.http.schemas import JobBody, TicketBody
from handful.service.http.tickets import TICKET_SUMMARY, Tickets, ticket_response
from handful.service.jobs.job import JobOptions
from handful.service.jobs.job_calls import JobCalls, job_body, json_response
from handful.service.jobs.starting import JobStarter
from handful.service.jobs.table import EXPORTED, REPORT
from handful.service.jobs.worker import JobWorker
from handful.service.models.catalogue import Catalogue
from handful.service.settings import Settings
from pydantic import Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response


class ExportRequest(JsonRequest):
    """Which version is exported, and how."""

    version: str | None = Field(None, description="null: the champion")
    precision: Literal["fp32", "fp16"] = Field("fp32", description="of the weights: fp16 halves the file")


class OutputRoutes:
    """One per worker. `bodies` limits the bytes of all request bodies in its memory."""

    def __init__(self, settings: Settings, worker: JobWorker, starter: JobStarter, bodies: Capacity) -> None:
        self.settings, self.worker, self.starter, self.bodies = settings, worker, starter, bodies
        self.calls, self.tickets = JobCalls(worker), Tickets(settings.api_keys)
        report_errors = (JobNotFound, NotKept)
        self.endpoints = (
            Endpoint(
                "POST",
                "/models/{name}/export",
                self.export,
                "A job writes the model as one ONNX file; the same file is not written twice.",
                answers={
                    200: Answer("The job that has written it already", JobBody),
                    202: Answer("The job", JobBody, headers=("Location",)),
                },
                errors=(*BODY_ERRORS, JsonBroken, ModelUnknown, ExportOff, TooManyJobs, DiskFull),
                content=json_content(ExportRequest),
            ),
            Endpoint(
                "GET",
                "/jobs/{job}/file",
                self.file,
                "The file that a job has exported.",
                answers={200: Answer("An ONNX file", bytes, "application/octet-stream")},
                errors=report_errors,
            ),
            Endpoint(
                "GET",
                "/jobs/{job}/report",
                self.report,
                "The report of an evaluation, as a page without scripts.",
                answers={200: Answer("The page", str, "text/html")},
                errors=report_errors,
            ),
            Endpoint(
                "POST",
                "/jobs/{job}/report/ticket",
                self.report_ticket,
                TICKET_SUMMARY,
                answers={200: Answer("The ticket", TicketBody)},
                errors=report_errors,
            ),
        )

    async def export(self, request: Request) -> Response:
        self._check_on()
        name = request.path_params["name"]
        asked = await read_optional_json(request, ExportRequest, self.settings.body_seconds, self.bodies)
        options = await self.worker.call(export_options, Catalogue(self.settings.model), name, asked)
        if made := await self.worker.call(self.worker.table.export_of, name, options):
            return json_response(job_body(made), 200 if made.finished_at else 202, {"Location": f"/jobs/{made.job}"})
        job = await self.starter.without_photos(name, "export", options)
        return json_response(job_body(job), 202, {"Location": f"/jobs/{job.job}"})

    def _check_on(self) -> None:
        try:
            self.worker.check_on()
            check_packages()
        except RetrainOff as e:
            raise ExportOff("This service runs no jobs; `handful export` writes the file in a terminal.") from e
        except UsageError as e:
            raise ExportOff(str(e)) from e

    async def file(self, request: Request) -> Response:
        job = await self.calls.asked_for(request)
        file = self.worker.table.job_folder(job.job) / EXPORTED
        if not (job.state == "done" and await self.worker.call(file.is_file)):
            raise NotKept("This job has exported no file.")
        name = f"{job.name}-{job.options.version}{Path(EXPORTED).suffix}"
        return FileResponse(file, media_type="application/octet-stream", filename=name)

    async def report(self, request: Request) -> Response:
        return report_response(await self._html(request))

    async def report_ticket(self, request: Request) -> Response:
        await self._html(request)
        return ticket_response(self.tickets, request)

    async def _html(self, request: Request) -> bytes:
        job = await self.calls.asked_for(request)
        page = self.worker.table.job_folder(job.job) / REPORT / "report.html"
        html = await self.worker.call(report_bytes, page)
        if html is None:
            raise NotKept("This job has no report.")
        return html


def export_options(catalogue: Catalogue, name: str, asked: ExportRequest) -> JobOptions:
    """Of the version as it lies there now. Reads the disk. Raises `ModelUnknown`."""
    catalogue.check(name)
    version = catalogue.champion(name) if asked.version is None else asked.version
    if version is None:
        raise ModelUnknown(f"{name} has no version yet; train it first.")
    try:
        card = (catalogue.folder(name, version) / CARD).read_bytes()
    except FileNotFoundError as e:
        raise ModelUnknown(f"Version {version} of {name} is no longer there.") from e
    content = hashlib.sha256(card).hexdigest()
    return JobOptions(source="version", version=version, content=content, precision=asked.precision)
