"""What is left to do once the command of a job has ended well."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from typing import Any

from handful.service.artifact.errors import HandfulError
from handful.service.artifact.store import Store
from handful.service.http.schemas import State
from handful.service.jobs.job import Job, JobError
from handful.service.jobs.table import CONTENTS, EXPORTED, JobTable
from handful.service.library.disk import LIBRARY_FOLDER
from handful.service.library.library import HIDDEN
from handful.service.library.problems import save_problems

logger = logging.getLogger(__name__)


def end_job(table: JobTable, job: Job, state: State, error: JobError | None, result: dict[str, Any] | None) -> None:
    """Ends the job in the table, after what its kind asks for. Raises OSError if the table cannot be written."""
    if result is not None:
        if job.kind == "train":
            result = {**result, "promoted": _in_use(table, job, str(result.get("model", "")))}
        if job.kind == "export":
            result = {**result, "out": EXPORTED}  # where it lies concerns nobody
        if job.options.source == "library" and job.kind != "evaluate":
            _keep_problems(table, job, result)
    table.end(job, state, error, result)


def _in_use(table: JobTable, job: Job, model: str) -> bool:
    """Whether the new version is the one in use; with promote=always it becomes so."""
    store, version = Store(table.folder.parent), model.rpartition(":")[2]
    with suppress(HandfulError, OSError):
        if job.promote == "always":
            store.promote(job.name, version)
        return store.champion(job.name) == version
    return False


def _keep_problems(table: JobTable, job: Job, result: dict[str, Any]) -> None:
    """For the page, which shows them on the photos; the job is done without them."""
    hidden = table.folder.parent / LIBRARY_FOLDER / job.name / HIDDEN
    try:
        contents = json.loads((table.job_folder(job.job) / CONTENTS).read_text(encoding="utf-8"))
        save_problems(hidden, result, contents)
    except (OSError, ValueError) as e:
        logger.warning("The problems that %s found are not kept: %s", job.job, e)
