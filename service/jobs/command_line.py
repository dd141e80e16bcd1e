"""The command of a job: its arguments, and what its output means."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from handful.service.jobs.job import Job, JobError
from handful.service.jobs.table import LOG, PHOTOS, REPORT

COMMAND = (sys.executable, "-m", "handful.service")
MESSAGE_PREFIX = "handful: "  # of the command's error message on stderr


def command_of(job: Job, folder: Path) -> tuple[str, ...]:
    """What runs the job, whose folder is `folder`."""
    return (*COMMAND, job.kind, str(folder / PHOTOS), *_options(job, folder), "--json")


def _options(job: Job, folder: Path) -> tuple[str, ...]:
    match job.kind:
        case "train":
            return _train_options(job)
        case "retrain":
            return ("--name", job.name, "--promote", job.promote)
        case "evaluate":
            return ("--model", job.name, "--report", str(folder / REPORT))


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
        source = "The photo library" if job.options.source == "library" else "The zip"
        message = messages[-1].replace(str(folder / PHOTOS), source).replace(str(folder), source)
        return JobError(code=f"{job.kind}_refused", message=message)
    if status < 0:
        message = f"The process was killed by signal {-status}, perhaps for lack of memory."
    else:
        message = f"The process failed (status {status}); its log, {LOG}, is in the job's folder."
    return JobError(code=f"{job.kind}_failed", message=message)
