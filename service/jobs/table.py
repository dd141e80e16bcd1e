"""The table of jobs asked for over HTTP: one SQLite file below HANDFUL_HOME, shared by all workers.

jobs/jobs.sqlite3    one row per job
jobs/ID/photos/      the photos that were sent, or those of the library as they were then, until the job has ended
jobs/ID/photos.json  the contents of those of the library
jobs/ID/report/      of an evaluation
jobs/ID/model.onnx   of an export
jobs/ID/progress     JSON lines, written by the command
jobs/ID/log.txt      what the command wrote to stderr
jobs/.upload-*/      photos that are still being received
jobs/HASH.lock       held by the worker that runs a job of a model, and by the command it started
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from handful.service.artifact.atomic import PARTIAL_KEPT_SECONDS, private_folder, try_lock
from handful.service.http.errors import JobEnded, JobNotFound, TooManyJobs
from handful.service.http.schemas import Kind, Promote, State
from handful.service.jobs.database import connection, transaction
from handful.service.jobs.job import INTERRUPTED, Job, JobError, JobOptions, read_progress
from handful.service.jobs.process import inheritable_lock

TABLE, PHOTOS, PROGRESS, LOG, LOCK = "jobs.sqlite3", "photos", "progress", "log.txt", "lock"
CONTENTS, REPORT, EXPORTED = "photos.json", "report", "model.onnx"
UPLOAD = ".upload-"
MOST_STARTS = 3  # of a job on the photo library, which is begun again after its worker has ended

_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")
_SUMMARY = (
    "job, kind, options, name, state, promote, files, created_at, started_at, finished_at, cancel_requested, error"
)


@dataclass(frozen=True)
class Upload:
    """A hidden folder that receives a job's photos. It is locked, so that a dead worker's can be recognised."""

    folder: Path
    lock: FileLock

    @property
    def photos(self) -> Path:
        return self.folder / PHOTOS


class JobTable:
    """All calls read or write the disk and may wait for another worker: never make one in the event loop.

    Each raises OSError if the disk cannot be read or written.
    """

    def __init__(self, home: Path, kept: int) -> None:
        self.folder, self.kept = home / "jobs", kept
        self.path = self.folder / TABLE

    def job_folder(self, job: str) -> Path:
        return self.folder / job

    def upload(self) -> Upload:
        """A folder for the photos of a new job; the caller discards it."""
        private_folder(self.folder)
        with transaction(self.path) as writing:
            self._sweep(writing)
            folder = Path(tempfile.mkdtemp(prefix=UPLOAD, dir=self.folder))
            lock = try_lock(folder / LOCK)
        assert lock is not None  # noqa: S101 - the folder is new
        (folder / PHOTOS).mkdir()
        return Upload(folder, lock)

    def discard(self, upload: Upload) -> None:
        """Removes the folder, unless it has become a job, and its lock."""
        shutil.rmtree(upload.folder, ignore_errors=True)
        upload.lock.release()

    def check_queue(self, name: str, most: int) -> None:
        """Raises `TooManyJobs` if so many jobs of the model wait or run already."""
        if sum(job.name == name for job in self.unfinished()) >= most:
            raise TooManyJobs(f"There are {most} jobs of {name} already; wait until one has ended.")

    def add(
        self,
        upload: Upload,
        name: str,
        promote: Promote,
        files: int,
        most: int,
        kind: Kind = "retrain",
        options: JobOptions | None = None,
    ) -> Job:
        """Makes a job of the uploaded photos. Raises `TooManyJobs`."""
        now = datetime.now(UTC)
        identity = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"  # the order of the names is that of the times
        try:
            with transaction(self.path) as writing:
                self.check_queue(name, most)
                pruned = self._prune(writing)
                writing.execute(
                    "INSERT INTO jobs (job, kind, options, name, state, promote, files, created_at)"
                    " VALUES (?, ?, ?, ?, 'queued', ?, ?, ?)",
                    (
                        *(identity, kind, (options or JobOptions()).model_dump_json()),
                        *(name, promote, files, now.isoformat()),
                    ),
                )
                (upload.folder / LOCK).unlink()
                upload.folder.rename(self.job_folder(identity))
        except BaseException:
            shutil.rmtree(self.job_folder(identity), ignore_errors=True)
            raise
        for job in pruned:
            shutil.rmtree(self.job_folder(job), ignore_errors=True)
        return self.read(identity)

    def read(self, job: str) -> Job:
        """Raises `JobNotFound`."""
        rows = self._select("SELECT * FROM jobs WHERE job = ?", job) if _ID.fullmatch(job) else []
        if not rows:
            raise JobNotFound(f"There is no such job here; the last {self.kept} are kept.")
        return rows[0]

    def all(self) -> list[Job]:
        """Newest first, without their results."""
        return self._select(f"SELECT {_SUMMARY} FROM jobs ORDER BY job DESC")  # noqa: S608 - a constant

    def unfinished(self) -> list[Job]:
        """Oldest first."""
        return self._select("SELECT * FROM jobs WHERE finished_at IS NULL ORDER BY job")

    def export_of(self, name: str, options: JobOptions) -> Job | None:
        """The export that was asked for already, if its file lies here or is still being made."""
        rows = "SELECT * FROM jobs WHERE kind = 'export' AND name = ? ORDER BY job DESC"
        same = [job for job in self._select(rows, name) if job.options == options]
        for job in same:
            if job.finished_at is None or (job.state == "done" and (self.job_folder(job.job) / EXPORTED).is_file()):
                return job
        return None

    @contextmanager
    def running(self, name: str) -> Iterator[int | None]:
        """The descriptor of the lock to hold while a job of this model runs; None if another process holds it."""
        digest = hashlib.sha256(name.encode()).hexdigest()
        with inheritable_lock(self.folder / f"{digest[:32]}.lock") as lock:
            yield lock

    def claim(self, name: str, *, take: bool) -> Job | None:
        """Sets the model's oldest waiting job to running and returns it, if `take`. Only for the holder of `running`.

        Jobs that are still marked as running were left by a worker that died, and are ended first.
        """
        for left in self._select("SELECT * FROM jobs WHERE name = ? AND state = 'running'", name):
            self.end_interrupted(left)
        waiting = "SELECT job FROM jobs WHERE name = ? AND state = 'queued' ORDER BY job LIMIT 1"
        started = "UPDATE jobs SET state = 'running', started_at = ?, starts = starts + 1 WHERE job = ?"
        if not take:
            return None
        with transaction(self.path) as writing:
            row = writing.execute(waiting, (name,)).fetchone()
            if row is None:
                return None
            writing.execute(started, (datetime.now(UTC).isoformat(), row["job"]))
        return self.read(row["job"])

    def end_interrupted(self, job: Job) -> None:
        """A job on what still lies here, the photo library or a version, waits again. Any other ends."""
        job = self.read(job.job)
        if job.cancel_requested:
            self.end(job, "cancelled", None, None)
        elif job.options.source != "zip" and job.starts < MOST_STARTS:
            (self.job_folder(job.job) / PROGRESS).unlink(missing_ok=True)
            with transaction(self.path) as writing:
                again = "UPDATE jobs SET state = 'queued', started_at = NULL WHERE job = ? AND NOT cancel_requested"
                writing.execute(again, (job.job,))
        else:
            self.end(job, "interrupted", INTERRUPTED, None)

    def end(self, job: Job, state: State, error: JobError | None, result: dict[str, object] | None) -> None:
        shutil.rmtree(self.job_folder(job.job) / PHOTOS, ignore_errors=True)  # first: it makes room on a full disk
        with transaction(self.path) as writing:
            writing.execute(
                "UPDATE jobs SET state = ?, error = ?, result = ?, finished_at = ? WHERE job = ?",
                (
                    state,
                    error and error.model_dump_json(),
                    None if result is None else json.dumps(result),
                    datetime.now(UTC).isoformat(),
                    job.job,
                ),
            )

    def cancel(self, identity: str) -> Job:
        """Ends a waiting job, and asks the worker that runs a running one to end it.

        Raises `JobNotFound`, and `JobEnded` if it is too late.
        """
        self.read(identity)  # before the first job there is no file to lock
        with transaction(self.path) as writing:
            update = "UPDATE jobs SET cancel_requested = TRUE WHERE job = ? AND state IN ('queued', 'running')"
            writing.execute(update, (identity,))
            queued = "UPDATE jobs SET state = 'cancelled', finished_at = ? WHERE job = ? AND state = 'queued'"
            writing.execute(queued, (datetime.now(UTC).isoformat(), identity))
        job = self.read(identity)
        if job.state not in {"running", "cancelled"}:
            raise JobEnded(f"The job {identity} has ended already: it is {job.state}.")
        if job.state == "cancelled":
            shutil.rmtree(self.job_folder(identity) / PHOTOS, ignore_errors=True)
        return job

    def is_cancelled(self, identity: str) -> bool:
        return any(job.cancel_requested for job in self._select("SELECT * FROM jobs WHERE job = ?", identity))

    def _select(self, query: str, *values: str) -> list[Job]:
        if not self.path.is_file():
            return []
        with connection(self.path) as reading:
            rows = reading.execute(query, values).fetchall()
        return [self._job(row) for row in rows]

    def _job(self, row: sqlite3.Row) -> Job:
        values = dict(row)
        values = {column: value for column, value in values.items() if column in Job.model_fields}  # not a later one's
        parsed = {column: json.loads(values[column]) for column in ("error", "result", "options") if values.get(column)}
        progress = read_progress(self.job_folder(values["job"]) / PROGRESS) if values["state"] == "running" else None
        return Job.model_validate({**values, **parsed, "progress": progress})

    def _sweep(self, reading: sqlite3.Connection) -> None:
        """Removes uploads of dead workers, and old job folders without a row: of another release, or of a crash."""
        for left in self.folder.glob(f"{UPLOAD}*"):
            if lock := try_lock(left / LOCK):
                shutil.rmtree(left, ignore_errors=True)
                lock.release()
        known = {row["job"] for row in reading.execute("SELECT job FROM jobs")}
        for folder in (each for each in self.folder.iterdir() if _ID.fullmatch(each.name) and each.name not in known):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > PARTIAL_KEPT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)

    def _prune(self, writing: sqlite3.Connection) -> list[str]:
        """Deletes the rows of the oldest ended jobs, so that one more can be kept; returns the jobs."""
        ended = "SELECT job FROM jobs WHERE finished_at IS NOT NULL ORDER BY job DESC LIMIT -1 OFFSET ?"
        pruned = [(row["job"],) for row in writing.execute(ended, (self.kept - 1,))]
        writing.executemany("DELETE FROM jobs WHERE job = ?", pruned)
        return [job for (job,) in pruned]
