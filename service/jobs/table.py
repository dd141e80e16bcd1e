"""The retrainings that were asked for, as folders below HANDFUL_HOME: every worker, now and later, sees the same.

jobs/ID/job.json     a `JobBody`, replaced atomically, changed only under the table's lock
jobs/ID/photos/      what was sent, until the job has ended
jobs/ID/progress     JSON lines, written by the command
jobs/ID/log.txt      what the command said
jobs/ID/cancel       somebody wants it ended
jobs/open/ID         for each that has not ended
jobs/NAME.lock       held by whoever runs a job of that model: NAME hashed, held by the command, too
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from handful.service.artifact.atomic import replace_text
from handful.service.artifact.locks import held, hold
from handful.service.http.errors import JobEnded, JobNotFound, TooManyJobs
from handful.service.http.schemas import ErrorDetail, JobBody, Progress, Promote, State
from pydantic import ValidationError

STATE, PHOTOS, PROGRESS, LOG, CANCEL, LOCK = "job.json", "photos", "progress", "log.txt", "cancel", "lock"
STAGE = ".stage-"
TAIL_BYTES = 4096  # of the progress file; its last line is shorter

_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Stage:
    """A hidden folder in which a job's photos are gathered; locked, so that a dead worker's can be told."""

    folder: Path
    lock: int

    @property
    def photos(self) -> Path:
        return self.folder / PHOTOS


class JobTable:
    """All calls read or write the disk, and may wait for another worker's; none is for the event loop."""

    def __init__(self, home: Path, kept: int) -> None:
        self.folder, self.kept = home / "jobs", kept
        self.open = self.folder / "open"

    def path(self, job: str) -> Path:
        """Raises `JobNotFound` for what is no job's name, so that no path can be made up."""
        path = self.folder / job
        if not _ID.fullmatch(job) or not path.is_dir():
            raise JobNotFound(f"There is no such job here; the last {self.kept} are kept.")
        return path

    def stage(self) -> Stage:
        """Raises OSError where nothing can be written."""
        self.open.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._sweep()
            folder = Path(tempfile.mkdtemp(prefix=STAGE, dir=self.folder))
            lock = hold(folder / LOCK, wait=False)
        assert lock is not None  # noqa: S101 - the folder is new
        (folder / PHOTOS).mkdir()
        return Stage(folder, lock)

    def discard(self, stage: Stage) -> None:
        """Removes what has not become a job."""
        shutil.rmtree(stage.folder, ignore_errors=True)
        os.close(stage.lock)

    def check_room(self, name: str, most: int) -> None:
        """Raises `TooManyJobs` where as many wait or run already."""
        if sum(job.name == name for job in self.unfinished()) >= most:
            raise TooManyJobs(f"There are {most} retrainings of {name} already; wait until one has ended.")

    def add(self, stage: Stage, name: str, promote: Promote, files: int, most: int) -> JobBody:
        """Makes a job of what was gathered; raises `TooManyJobs`."""
        now = datetime.now(UTC)
        identity = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"  # sorted by name is sorted by age
        job = JobBody(job=identity, name=name, state="queued", promote=promote, files=files, created_at=now)
        with self._locked():
            self.check_room(name, most)
            self._prune()
            _write(stage.folder, job)
            (stage.folder / LOCK).unlink()
            (self.open / identity).touch()
            stage.folder.rename(self.folder / identity)
        return job

    def read(self, job: str) -> JobBody:
        path = self.path(job)
        try:
            found = JobBody.model_validate_json((path / STATE).read_bytes())
        except (OSError, ValidationError) as e:
            raise JobNotFound(f"The job {job} was written by another version, or is being removed.") from e
        return found.model_copy(update={"progress": _last_line(path / PROGRESS)}) if found.state == "running" else found

    def all(self) -> list[JobBody]:
        """Newest first."""
        return [job for identity in reversed(self._ids()) for job in self._readable(identity)]

    def unfinished(self) -> list[JobBody]:
        """Oldest first."""
        found = sorted(path.name for path in self.open.iterdir()) if self.open.is_dir() else []
        return [job for identity in found for job in self._readable(identity) if job.finished_at is None]

    @contextmanager
    def running(self, name: str) -> Iterator[int | None]:
        """The number of the lock that says a job of this model runs; None where another process has it."""
        digest = hashlib.sha256(name.encode()).hexdigest()
        with held(self.folder / f"{digest[:32]}.lock", wait=False) as lock:
            yield lock

    def claim(self, name: str, *, take: bool) -> JobBody | None:
        """The oldest that waits, now running, where one is to be taken; for the holder of `running` alone.

        What still says that it runs was left by a worker that died, and is ended.
        """
        with self._locked():
            jobs = [job for job in self.unfinished() if job.name == name]
            for left in (job for job in jobs if job.state == "running"):
                self._end(left, *self._left_as(left))
            waiting = next((job for job in jobs if job.state == "queued"), None)
            if not take or waiting is None:
                return None
            running = waiting.model_copy(update={"state": "running", "started_at": datetime.now(UTC)})
            _write(self.path(running.job), running)
            return running

    def _left_as(self, job: JobBody) -> tuple[State, ErrorDetail | None, None]:
        if (self.folder / job.job / CANCEL).exists():
            return "cancelled", None, None
        return "interrupted", INTERRUPTED, None

    def end(self, job: JobBody, state: State, error: ErrorDetail | None, result: dict[str, object] | None) -> JobBody:
        with self._locked():
            return self._end(job, state, error, result)

    def _end(self, job: JobBody, state: State, error: ErrorDetail | None, result: dict[str, object] | None) -> JobBody:
        now = datetime.now(UTC)
        update = {"state": state, "error": error, "result": result, "finished_at": now, "progress": None}
        ended, path = job.model_copy(update=update), self.folder / job.job
        shutil.rmtree(path / PHOTOS, ignore_errors=True)  # first: on a full disk this makes the room for the rest
        _write(path, ended)
        (self.open / job.job).unlink(missing_ok=True)
        return ended

    def cancel(self, identity: str) -> JobBody:
        """Ends one that waits; asks whoever runs one to end it.

        Raises `JobNotFound`, `JobEnded` where it is too late, or OSError where nothing can be written.
        """
        self.path(identity)  # before the first job there is no table to lock
        with self._locked():
            job = self.read(identity)
            if job.state == "queued":
                return self._end(job, "cancelled", None, None)
            if job.state == "running":
                (self.path(identity) / CANCEL).touch()
            elif job.state != "cancelled":
                raise JobEnded(f"The job {identity} has ended already: it is {job.state}.")
            return job

    def is_cancelled(self, identity: str) -> bool:
        return (self.folder / identity / CANCEL).exists()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with held(self.folder / "table.lock", wait=True):
            yield

    def _ids(self) -> list[str]:
        """Oldest first."""
        return sorted(p.name for p in self.folder.iterdir() if _ID.fullmatch(p.name)) if self.folder.is_dir() else []

    def _readable(self, identity: str) -> list[JobBody]:
        with suppress(JobNotFound):
            return [self.read(identity)]
        return []

    def _sweep(self) -> None:
        """Removes what dead workers had gathered, and marks of jobs that are no more."""
        for left in self.folder.glob(f"{STAGE}*"):
            with held(left / LOCK, wait=False) as lock:
                if lock is not None:
                    shutil.rmtree(left, ignore_errors=True)
        for mark in self.open.iterdir():
            if not any(job.finished_at is None for job in self._readable(mark.name)):
                mark.unlink(missing_ok=True)

    def _prune(self) -> None:
        """Room for one more."""
        ended = [identity for identity in self._ids() if not (self.open / identity).exists()]
        for identity in ended[: max(0, len(ended) + 1 - self.kept)]:
            shutil.rmtree(self.folder / identity, ignore_errors=True)


INTERRUPTED = ErrorDetail(code="interrupted", message="The service ended before the job did; send the photos again.")


def _write(folder: Path, job: JobBody) -> None:
    replace_text(folder / STATE, job.model_dump_json(exclude={"progress"}) + "\n")


def _last_line(path: Path) -> Progress | None:
    """None where there is none yet, or none that can be read."""
    with suppress(OSError, ValueError):
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            whole = file.read().rpartition(b"\n")[0]
        return Progress.model_validate(json.loads(whole.rpartition(b"\n")[2]))
    return None
