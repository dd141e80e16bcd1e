"""The command of a job: its arguments, and what its output means."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from handful.service.jobs.job import Job, JobError
from handful.service.jobs.table import EXPORTED, LOG, PHOTOS, REPORT

COMMAND = (sys.executable, "-m", "handful.service")
_SOURCES = {"zip": "The zip", "library": "The photo library", "version": "The version"}
MESSAGE_PREFIX = "handful: "  # of the command's error message on stderr


def command_of(job: Job, folder: Path) -> tuple[str, ...]:
    """What runs the job, whose folder is `folder`."""
    return (*COMMAND, job.kind, *_words(job, folder), "--json")


def _words(job: Job, folder: Path) -> tuple[str, ...]:
    photos = str(folder / PHOTOS)
    match job.kind:
        case "train":
            return (photos, *_train_options(job))
        case "retrain":
            return (photos, "--name", job.name, "--promote", job.promote)
        case "evaluate":
            return (photos, "--model", job.name, "--report", str(folder / REPORT))
        case "export":
            model = f"{job.name}:{job.options.version}"
            return (model, str(folder / EXPORTED), "--precision", job.options.precision)


def _train_options(job: Job) -> tuple[str, ...]:
    backbone = ("--backbone", job.options.backbone) if job.options.backbone else ()
    return ("--name", job.name, *backbone, *(("--finetune",) if job.options.finetune else ()))


def result_of(out: bytes) -> dict[str, Any] | None:
    """The JSON object that the command printed; None if it printed none."""
    try:
        result = json.loads(out)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


def error_of(status: int, stderr: str, job: Job, folder: Path) -> JobError:
    """The command's own error message if it wrote one, without any path of this machine."""
    messages = [line.removeprefix(MESSAGE_PREFIX) for line in stderr.splitlines() if line.startswith(MESSAGE_PREFIX)]
    if messages:
        source = _SOURCES[job.options.source]
        message = messages[-1].replace(str(folder / PHOTOS), source).replace(str(folder), source)
        return JobError(code=f"{job.kind}_refused", message=message)
    if status < 0:
        message = f"The process was killed by signal {-status}, perhaps for lack of memory."
    else:
        message = f"The process failed (status {status}); its log, {LOG}, is in the job's folder."
    return JobError(code=f"{job.kind}_failed", message=message)
