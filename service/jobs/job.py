"""One job, as the table keeps it and the worker runs it. What a client sees of it is `http/schemas.py`'s."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from handful.service.http.schemas import Kind, Promote, State
from pydantic import BaseModel, ConfigDict

TAIL_BYTES = 4096  # of the progress file; its last line is shorter


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobError(_Record):
    """Why a job is not done: a code for programs and a sentence for a person."""

    code: str
    message: str


class JobProgress(_Record):
    """The last line that the command wrote about its present stage; `total` None: not known."""

    stage: str
    done: int
    total: int | None
    seconds_left: int | None = None  # of the whole command, by now


class JobOptions(_Record):
    """What a job learns from, and how; or the version that it exports."""

    source: Literal["zip", "library", "version"] = "zip"
    backbone: str | None = None  # of a training
    finetune: bool = False
    version: str | None = None  # of an export
    content: str | None = None  # SHA-256 of the card of that version, as another may come under its name
    precision: Literal["fp32", "fp16"] = "fp32"  # of an export


class Job(_Record):
    """One row of the table, with the progress of the command while it runs."""

    job: str
    kind: Kind = "retrain"
    options: JobOptions = JobOptions()
    starts: int = 0  # how often it was begun
    name: str
    state: State
    promote: Promote
    files: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested: bool = False
    error: JobError | None = None
    result: dict[str, object] | None = None
    progress: JobProgress | None = None


INTERRUPTED = JobError(code="interrupted", message="The service ended before the job did; send the photos again.")


def read_progress(path: Path) -> JobProgress | None:
    """The last whole line; None if there is none, or none that can be read."""
    with suppress(OSError, ValueError):
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            whole = file.read().rpartition(b"\n")[0]
            age = time.time() - os.fstat(file.fileno()).st_mtime
        progress = JobProgress.model_validate_json(whole.rpartition(b"\n")[2])
        left = None if progress.seconds_left is None else round(progress.seconds_left - age)
        return progress.model_copy(update={"seconds_left": left if left and left > 0 else None})
    return None
