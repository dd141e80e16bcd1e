"""A worker's part in jobs: takes them from the table, one at a time, and runs each as a process.

The command has a process of its own because it needs much memory, would take cores from the answers, and may be
killed. It inherits the model's lock, so that no other worker starts the next job, or takes this one for interrupted,
before the command has ended.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from handful.service.artifact.label_names import OTHER
from handful.service.artifact.store import home
from handful.service.http.capacity import Capacity
from handful.service.http.errors import NO_SPACE_ERRNOS, DiskFull, Overloaded, RetrainOff
from handful.service.http.metrics import FOLDER as METRICS_FOLDER
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.schemas import Kind, Promote, State
from handful.service.import_root import IMPORT_ROOT
from handful.service.jobs.archive import Limits, unpack
from handful.service.jobs.command_line import command_of, error_of, result_of
from handful.service.jobs.ending import end_job
from handful.service.jobs.job import INTERRUPTED, Job, JobError, JobOptions
from handful.service.jobs.process import GRACE_SECONDS, LogFile, read_all, stop
from handful.service.jobs.table import LOG, PROGRESS, JobTable, Upload
from handful.service.serving.champion import ChampionWatcher
from handful.service.serving.shutdown import SUPERVISOR, ending
from handful.service.settings import Settings
from handful.service.terminal.progress import PROGRESS_FILE

logger = logging.getLogger(__name__)
DONE_STATUSES = frozenset({0, 1})  # 1: done, but some photos were left out
STOPPED_STATUSES = frozenset({130, -signal.SIGTERM, -signal.SIGINT})
CANCEL_POLL_SECONDS = 0.1
UNPACKED = 4  # how many times the zip's size limit its content may have
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOENT})
RESULT_BYTES = 32_000_000
MAX_UPLOADS = 2  # at once per worker: each may fill the disk up to its limit
MAX_CALLS = 32  # that wait for the table or the disk at once
LOCKED_SECONDS = 1.0  # until the end of a job is written again, while the table is locked

P = ParamSpec("P")
R = TypeVar("R")


class JobWorker:
    """Accepts, runs and cancels jobs; one per worker process."""

    def __init__(self, settings: Settings, champion: ChampionWatcher, metrics: ServiceMetrics) -> None:
        self.settings, self.champion, self.metrics = settings, champion, metrics
        self.table = JobTable(home(), settings.kept_jobs)
        self.added = asyncio.Event()
        # threads of their own: whatever locks the table or stops the disk must stop nothing else, nor calls the jobs
        self._for_calls = ThreadPoolExecutor(MAX_UPLOADS + 4, thread_name_prefix="calls")
        self._for_jobs = ThreadPoolExecutor(2, thread_name_prefix="jobs")
        self._calls = Capacity(MAX_CALLS, "calls about jobs")

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs what reads or writes the disk for a call. Raises `Overloaded` if the table is locked, too."""
        with self._calls.reserve(1):
            try:
                return await asyncio.wrap_future(self._for_calls.submit(function, *args, **kwargs))
            except OSError as e:
                if e.errno != errno.EBUSY:
                    raise
                raise Overloaded("Another process has locked the table of jobs; try again in a second.") from e

    async def _beside(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs what reads or writes the disk for a job."""
        return await asyncio.wrap_future(self._for_jobs.submit(function, *args, **kwargs))

    def name(self) -> str:
        """The default model. Raises `RetrainOff` or `NotReady`."""
        self.check_on()
        return self.champion.current.classifier.card.name

    def check_on(self) -> None:
        """Raises `RetrainOff` where no job can run."""
        if self.settings.model is not None:
            raise RetrainOff("This service always answers with one fixed version; there is nothing to retrain.")
        if self.settings.follow:
            raise RetrainOff("This service takes its model from another store; train where that store is filled.")
        if not self.settings.max_jobs:
            raise RetrainOff("Training is switched off here (HANDFUL_MAX_JOBS is 0).")
        if not _can_train():
            raise RetrainOff(
                "Training, which needs torch, is not installed here; run `handful retrain` on a machine where it is."
            )

    @asynccontextmanager
    async def upload(self) -> AsyncIterator[Upload]:
        """A folder to receive photos; removed at the end of the block, unless they have become a job."""
        with _writing():
            upload = await self.call(self.table.upload)
            try:
                yield upload
            finally:
                await asyncio.wrap_future(self._for_calls.submit(self.table.discard, upload))

    async def unpack(self, upload: Upload, archive: Path, labels: Collection[str]) -> int:
        """How many files the zip has, which lie in the upload's folder then. Raises an `ArchiveError`."""
        limits = Limits(self.settings.max_retrain_files, int(UNPACKED * self.settings.max_retrain_megabytes * 1e6))
        files = await self.call(unpack, archive, upload.photos, limits, (*labels, OTHER))
        archive.unlink()
        return files

    async def add(
        self,
        upload: Upload,
        name: str,
        kind: Kind,
        files: int,
        promote: Promote = "auto",
        options: JobOptions | None = None,
    ) -> Job:
        """Queues a job on the photos in the upload's folder. Raises `TooManyJobs`."""
        most = self.settings.max_jobs
        job = await self.call(self.table.add, upload, name, promote, files, most, kind, options)
        self.added.set()
        return job

    async def cancel(self, identity: str) -> Job:
        """Returns when the job has ended, or after twice the grace period.

        Raises `JobNotFound`, `JobEnded` or `RetrainOff`.
        """
        with _writing():
            job = await self.call(self.table.cancel, identity)
        deadline = time.monotonic() + 2 * GRACE_SECONDS
        while job.finished_at is None and time.monotonic() < deadline:
            await asyncio.sleep(CANCEL_POLL_SECONDS)
            job = await self.call(self.table.read, identity)
        return job

    async def follow(self) -> None:
        """Runs jobs until it is cancelled. A failing disk neither ends the service nor fills its log."""
        logged = ""
        while True:
            self.added.clear()
            try:
                await self._run_waiting()
            except Exception as e:
                if str(e) != logged:
                    logger.warning("The jobs cannot be run: %s", e, exc_info=True)
                logged = str(e)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.poll_seconds):
                    await self.added.wait()

    async def _run_waiting(self) -> None:
        """Runs the jobs that wait, the oldest first, and ends those that dead workers have left."""
        take = self.settings.model is None and _can_train()
        while any([await self._run_next(name, take=take) for name in await self._names()]):
            continue

    async def _names(self) -> list[str]:
        """Of the models that have jobs to run or to end; that of the oldest job first."""
        return list(dict.fromkeys(job.name for job in await self._beside(self.table.unfinished)))

    async def _run_next(self, name: str, *, take: bool) -> bool:
        """Whether a job of this model was there to run."""
        with self.table.running(name) as lock:
            if lock is None:
                return False
            job = await self._beside(self.table.claim, name, take=take and not ending.is_set())
            if job is None:
                return False
            await self._run(job, lock)
            return True

    async def _run(self, job: Job, lock: int) -> None:
        state: State = "interrupted"
        error: JobError | None = INTERRUPTED
        result: dict[str, Any] | None = None
        try:
            state, error, result = await self._outcome(job, lock)
        except OSError as e:
            logger.warning("The command could not be run", exc_info=True)
            state, error = "failed", JobError(code=f"{job.kind}_failed", message=f"It could not be run: {e.strerror}.")
        finally:  # the service may be ending
            await self._end(job, state, error, result)
            self.metrics.jobs.labels(job.kind, state).inc()
            if job.kind == "retrain":
                self.metrics.retrains.labels(state).inc()
            logger.warning("Job %s (%s of %s): %s", job.job, job.kind, job.name, state)

    async def _end(self, job: Job, state: State, error: JobError | None, result: dict[str, Any] | None) -> None:
        """Tries until the table is not locked, unless the service ends; until then no other worker takes the job."""
        task = asyncio.current_task()
        while True:
            try:
                if state == "interrupted":
                    await self._beside(self.table.end_interrupted, job)
                else:
                    await self._beside(end_job, self.table, job, state, error, result)
            except OSError as e:
                if e.errno != errno.EBUSY or (task and task.cancelling()):
                    raise
                await asyncio.sleep(LOCKED_SECONDS)
            else:
                return

    async def _outcome(self, job: Job, lock: int) -> tuple[State, JobError | None, dict[str, Any] | None]:
        process, log = await self._start(job, lock), LogFile(self.table.job_folder(job.job) / LOG)
        assert process.stdout is not None  # noqa: S101 - both are pipes
        assert process.stderr is not None  # noqa: S101
        output = asyncio.gather(read_all(process.stdout, RESULT_BYTES), log.fill(process.stderr), process.wait())
        cancelled = asyncio.create_task(self._cancelled(job))
        either: set[asyncio.Future[Any]] = {output, cancelled}
        try:
            done, _ = await asyncio.wait(
                either, timeout=self.settings.retrain_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            cancelled.cancel()
            await stop(process, output)
        stdout, _, status = await output
        if status in DONE_STATUSES and (result := result_of(stdout)) is not None:
            return "done", None, result
        if cancelled in done:
            return "cancelled", None, None
        if done and status in STOPPED_STATUSES:
            return "interrupted", INTERRUPTED, None  # not by us: a supervisor that ends also ends what it started
        if not done:
            late = f"It took longer than {self.settings.retrain_seconds:g} seconds."
            return "failed", JobError(code=f"{job.kind}_too_slow", message=late), None
        return "failed", error_of(status, log.tail(), job, self.table.job_folder(job.job)), None

    async def _start(self, job: Job, lock: int) -> asyncio.subprocess.Process:
        folder = self.table.job_folder(job.job)
        return await asyncio.create_subprocess_exec(
            *command_of(job, folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a process group, so that all of it can be killed
            pass_fds=(lock,),
            cwd=IMPORT_ROOT,
            env=self._environ(folder),
        )

    async def _cancelled(self, job: Job) -> None:
        """Returns when somebody has asked for the job's end."""
        while not await self._beside(self.table.is_cancelled, job.job):
            await asyncio.sleep(self.settings.poll_seconds)

    def _environ(self, folder: Path) -> dict[str, str]:
        from handful.service.compute.device import cpu_count

        left_out = {"HANDFUL_API_KEY", METRICS_FOLDER}
        path = filter(None, (str(IMPORT_ROOT), os.environ.get("PYTHONPATH")))
        return {
            **{name: value for name, value in os.environ.items() if name not in left_out},
            "HANDFUL_HOME": str(self.table.folder.parent),
            "PYTHONPATH": os.pathsep.join(path),
            "OMP_NUM_THREADS": str(max(1, cpu_count() // 2)),
            PROGRESS_FILE: str(folder / PROGRESS),
            SUPERVISOR: str(os.getpid()),
        }


@contextmanager
def _writing() -> Iterator[None]:
    """Turns a full or read-only disk into an error that says so: it is a bug neither of ours nor of the client."""
    try:
        yield
    except OSError as e:
        if e.errno in NO_SPACE_ERRNOS:
            raise DiskFull("There is no room on the disk for the photos.") from e
        if e.errno in READ_ONLY:
            raise RetrainOff("Nothing can be written to HANDFUL_HOME here, so nothing can be retrained.") from e
        raise


def _can_train() -> bool:
    return os.name != "nt" and all(map(find_spec, ("handful.training", "torch")))
