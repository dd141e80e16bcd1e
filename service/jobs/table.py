"""The table of retrainings asked for over HTTP: one SQLite file below HANDFUL_HOME, shared by all workers.

jobs/jobs.sqlite3    one row per job
jobs/ID/photos/      the photos that were sent, until the job has ended
jobs/ID/progress     JSON lines, written by the command
jobs/ID/log.txt      what the command wrote to stderr
jobs/.upload-*/      photos that are still being received
jobs/HASH.lock       held by the worker that runs a job of a model, and by the command it started

SQLite keeps its rollback journal here: its write-ahead log needs memory that processes share, which network disks
do not have.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from handful.service.artifact.atomic import PARTIAL_KEPT_SECONDS, private_folder, try_lock
from handful.service.http.errors import JobEnded, JobNotFound, TooManyJobs
from handful.service.http.schemas import Promote, State
from handful.service.jobs.job import INTERRUPTED, Job, JobError, read_progress
from handful.service.jobs.process import inheritable_lock

TABLE, PHOTOS, PROGRESS, LOG, LOCK = "jobs.sqlite3", "photos", "progress", "log.txt", "lock"
UPLOAD = ".upload-"
BUSY_SECONDS = 5.0  # that a call waits while another process writes; a write takes milliseconds

logger = logging.getLogger(__name__)
_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{8}")
_SUMMARY = "job, name, state, promote, files, created_at, started_at, finished_at, cancel_requested, error"
_SCHEMA = """CREATE TABLE IF NOT EXISTS jobs (
    job TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    promote TEXT NOT NULL,
    files INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT FALSE,
    error TEXT,
    result TEXT
)"""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
}


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
        with self._transaction() as connection:
            self._sweep(connection)
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
            raise TooManyJobs(f"There are {most} retrainings of {name} already; wait until one has ended.")

    def add(self, upload: Upload, name: str, promote: Promote, files: int, most: int) -> Job:
        """Makes a job of the uploaded photos. Raises `TooManyJobs`."""
        now = datetime.now(UTC)
        identity = f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"  # the order of the names is that of the times
        try:
            with self._transaction() as connection:
                self.check_queue(name, most)
                pruned = self._prune(connection)
                connection.execute(
                    "INSERT INTO jobs (job, name, state, promote, files, created_at) VALUES (?, ?, 'queued', ?, ?, ?)",
                    (identity, name, promote, files, now.isoformat()),
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
            if left.cancel_requested:
                self.end(left, "cancelled", None, None)
            else:
                self.end(left, "interrupted", INTERRUPTED, None)
        waiting = "SELECT job FROM jobs WHERE name = ? AND state = 'queued' ORDER BY job LIMIT 1"
        started = "UPDATE jobs SET state = 'running', started_at = ? WHERE job = ?"
        if not take:
            return None
        with self._transaction() as connection:
            row = connection.execute(waiting, (name,)).fetchone()
            if row is None:
                return None
            connection.execute(started, (datetime.now(UTC).isoformat(), row["job"]))
        return self.read(row["job"])

    def end(self, job: Job, state: State, error: JobError | None, result: dict[str, object] | None) -> None:
        shutil.rmtree(self.job_folder(job.job) / PHOTOS, ignore_errors=True)  # first: it makes room on a full disk
        with self._transaction() as connection:
            connection.execute(
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
        with self._transaction() as connection:
            update = "UPDATE jobs SET cancel_requested = TRUE WHERE job = ? AND state IN ('queued', 'running')"
            connection.execute(update, (identity,))
            queued = "UPDATE jobs SET state = 'cancelled', finished_at = ? WHERE job = ? AND state = 'queued'"
            connection.execute(queued, (datetime.now(UTC).isoformat(), identity))
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
        with self._connection() as connection:
            rows = connection.execute(query, values).fetchall()
        return [self._job(row) for row in rows]

    def _job(self, row: sqlite3.Row) -> Job:
        values = dict(row)
        parsed = {column: json.loads(values[column]) for column in ("error", "result") if values.get(column)}
        progress = read_progress(self.job_folder(values["job"]) / PROGRESS) if values["state"] == "running" else None
        return Job.model_validate({**values, **parsed, "progress": progress})

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One process writes at a time; nothing is written if the block raises."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Turns SQLite's errors into OSError. A damaged table is put aside: jobs are not worth a repair."""
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute(_SCHEMA)
                yield connection
        except sqlite3.Error as e:
            code = getattr(e, "sqlite_errorcode", 0) & 0xFF  # the rest says more exactly what happened
            if code in _DAMAGED:
                logger.warning("%s is damaged (%s); a new table is begun", self.path, e)
                self.path.replace(self.path.with_suffix(".damaged"))
            raise OSError(_ERRNO.get(code, errno.EIO), f"{self.path.name}: {e}") from e

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Removes uploads of dead workers, and old job folders without a row: of another release, or of a crash."""
        for left in self.folder.glob(f"{UPLOAD}*"):
            if lock := try_lock(left / LOCK):
                shutil.rmtree(left, ignore_errors=True)
                lock.release()
        known = {row["job"] for row in connection.execute("SELECT job FROM jobs")}
        for folder in (each for each in self.folder.iterdir() if _ID.fullmatch(each.name) and each.name not in known):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > PARTIAL_KEPT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)

    def _prune(self, connection: sqlite3.Connection) -> list[str]:
        """Deletes the rows of the oldest ended jobs, so that one more can be kept; returns the jobs."""
        ended = "SELECT job FROM jobs WHERE finished_at IS NOT NULL ORDER BY job DESC LIMIT -1 OFFSET ?"
        pruned = [(row["job"],) for row in connection.execute(ended, (self.kept - 1,))]
        connection.executemany("DELETE FROM jobs WHERE job = ?", pruned)
        return [job for (job,) in pruned]
