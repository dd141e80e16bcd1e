"""How a job goes on, as server-sent events: `progress` whenever something changed, `end` with the whole job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from handful.service.http.errors import JobNotFound, Overloaded
from handful.service.http.schemas import JobEvent
from handful.service.jobs.job import Job
from handful.service.jobs.job_calls import job_body
from handful.service.jobs.worker import JobWorker
from handful.service.serving.shutdown import ending

POLL_SECONDS = 0.5
SILENT_SECONDS = 10.0  # then a comment is sent: it shows that the connection lives
RETRY = "retry: 1000\n\n"  # milliseconds until a browser comes back


async def job_events(worker: JobWorker, job: Job) -> AsyncIterator[str]:
    """Ends with the job, or with the service; whoever reads then asks again."""
    yield RETRY
    said, spoken = "", time.monotonic()
    while job.finished_at is None and not ending.is_set():
        event = _progress(job)
        if event != said:
            said, spoken = event, time.monotonic()
            yield event
        elif time.monotonic() - spoken > SILENT_SECONDS:
            spoken = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(POLL_SECONDS)
        with suppress(Overloaded):  # the table is locked for a moment
            try:
                job = await worker.call(worker.table.read, job.job)
            except JobNotFound:
                return
    if job.finished_at is not None:
        yield f"event: end\ndata: {job_body(job).model_dump_json()}\n\n"


def _progress(job: Job) -> str:
    progress = job.progress
    event = JobEvent(
        state=job.state,
        stage=progress and progress.stage,
        done=progress.done if progress else 0,
        total=progress and progress.total,
        seconds_left=progress and progress.seconds_left,
    )
    return f"event: progress\ndata: {event.model_dump_json()}\n\n"
