"""The worker's part in retraining: takes jobs from the table, one at a time a model, and runs each as a process.

The command never shares this process: it takes memory and cores that answers need, and may be killed.
It holds the model's lock, too, so that no other worker starts the next job, or calls this one
interrupted, before it has ended.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from handful.service import IMPORT_ROOT
from handful.service.artifact.store import home
from handful.service.http.errors import NO_SPACE_ERRNOS, DiskFull, RetrainOff
from handful.service.http.metrics import FOLDER as METRICS_FOLDER
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.schemas import ErrorDetail, JobBody, Promote, State
from handful.service.jobs.archive import Limits, unpack
from handful.service.jobs.process import Tail, drain
from handful.service.jobs.table import INTERRUPTED, LOG, PHOTOS, PROGRESS, JobTable, Stage
from handful.service.serving.champion import Champion
from handful.service.serving.shutdown import SUPERVISOR, ending
from handful.service.settings import Settings
from handful.service.terminal.progress import PROGRESS_FILE

logger = logging.getLogger(__name__)
COMMAND = (sys.executable, "-m", "handful.service", "retrain")
FINE = frozenset({0, 1})  # exit statuses: done; done, but some photos were left out
STOPPED = frozenset({130, -signal.SIGTERM, -signal.SIGINT})
GRACE_SECONDS = 10.0  # from asking the command to end to ending it
LOOK_SECONDS = 0.1
UNPACKED = 4  # times the zip's own limit
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOENT})
RESULT_BYTES = 32_000_000
SAYS = "handful: "  # how the command's sentence on stderr begins


class Retraining:
    """One a worker; `command` takes a folder and flags, and ends as `handful retrain --json` does.

    `root` stands in for `HANDFUL_HOME`.
    """

    def __init__(
        self,
        settings: Settings,
        champion: Champion,
        metrics: ServiceMetrics,
        root: Path | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.settings, self.champion, self.metrics, self.command = settings, champion, metrics, command
        self.table = JobTable(root or home(), settings.kept_jobs)
        self.woken = asyncio.Event()

    def name(self) -> str:
        """The model that would be retrained; raises `RetrainOff` or `NotReady`."""
        if self.settings.model is not None:
            raise RetrainOff("This service answers with one fixed version for ever; there is nothing to retrain.")
        if not self.settings.max_jobs:
            raise RetrainOff("Retraining is switched off here (HANDFUL_MAX_JOBS is 0).")
        if os.name == "nt" or find_spec("handful.training") is None:
            raise RetrainOff("Nothing that trains is installed here; use `handful retrain` where it is.")
        return self.champion.current.classifier.card.name

    @asynccontextmanager
    async def stage(self) -> AsyncIterator[Stage]:
        """Where photos are gathered; gone at the end, unless they have become a job."""
        with _writing():
            stage = await asyncio.to_thread(self.table.stage)
            try:
                yield stage
            finally:
                await asyncio.to_thread(self.table.discard, stage)

    async def add(self, stage: Stage, promote: Promote, archive: Path) -> JobBody:
        """Unpacks the zip and puts it into the queue; raises an `ArchiveError`, or what `name` raises."""
        name, labels = self.name(), self.champion.current.classifier.labels
        limits = Limits(self.settings.max_retrain_files, int(UNPACKED * self.settings.max_retrain_megabytes * 1e6))
        files = await asyncio.to_thread(unpack, archive, stage.photos, limits, labels)
        archive.unlink()
        job = await asyncio.to_thread(self.table.add, stage, name, promote, files, self.settings.max_jobs)
        self.woken.set()
        return job

    async def cancel(self, identity: str) -> JobBody:
        """Returns when the job has ended, or takes long to; raises `JobNotFound`, `JobEnded` or `RetrainOff`."""
        with _writing():
            job = await asyncio.to_thread(self.table.cancel, identity)
        deadline = time.monotonic() + 2 * GRACE_SECONDS
        while job.finished_at is None and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            job = await asyncio.to_thread(self.table.read, identity)
        return job

    async def follow(self) -> None:
        """Never ends; a disk that fails must not end the service, nor fill its log."""
        said = ""
        while True:
            self.woken.clear()
            try:
                await self._look()
            except Exception as e:
                if str(e) != said:
                    logger.warning("The jobs cannot be seen to: %s", e, exc_info=True)
                said = str(e)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.poll_seconds):
                    await self.woken.wait()

    async def _look(self) -> None:
        """Runs what waits for our model, and ends what dead workers have left of any."""
        mine = self.champion.ready and self.settings.model is None
        own = self.champion.current.classifier.card.name if mine else None
        for name in sorted({job.name for job in await asyncio.to_thread(self.table.unfinished)}):
            with self.table.running(name) as lock:
                while lock is not None:
                    take = name == own and not ending.is_set()
                    job = await asyncio.to_thread(self.table.claim, name, take=take)
                    if job is None:
                        break
                    await self._run(job, lock)

    async def _run(self, job: JobBody, lock: int) -> None:
        state: State = "interrupted"
        error: ErrorDetail | None = INTERRUPTED
        result: dict[str, Any] | None = None
        try:
            state, error, result = await self._outcome(job, lock)
        except OSError as e:
            logger.warning("The command could not be run", exc_info=True)
            state, error = "failed", ErrorDetail(code="retrain_failed", message=f"It could not be run: {e.strerror}.")
        finally:  # the service may be ending
            self.table.end(job, state, error, result)
            self.metrics.retrains.labels(state).inc()
            logger.warning("Retraining of %s %s: %s", job.name, job.job, state)

    async def _outcome(self, job: JobBody, lock: int) -> tuple[State, ErrorDetail | None, dict[str, Any] | None]:
        folder = self.table.path(job.job)
        arguments = (str(folder / PHOTOS), "--name", job.name, "--promote", job.promote, "--json")
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # one group to end
            pass_fds=(lock,),
            cwd=IMPORT_ROOT,
            env=self._environ(folder),
        )
        said, wanted = Tail(folder / LOG), asyncio.create_task(self._cancelled(job))
        assert process.stdout is not None  # noqa: S101 - it was asked for
        assert process.stderr is not None  # noqa: S101
        reading = asyncio.gather(drain(process.stdout, RESULT_BYTES), said.fill(process.stderr), process.wait())
        either: set[asyncio.Future[Any]] = {reading, wanted}
        try:
            done, _ = await asyncio.wait(
                either, timeout=self.settings.retrain_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            wanted.cancel()
            await _end(process, reading)
        out, _, status = await reading
        if status in FINE and (result := _result(out)) is not None:
            return "done", None, result
        if wanted in done:
            return "cancelled", None, None
        if done and status in STOPPED:
            return "interrupted", INTERRUPTED, None  # not by us: a supervisor that ends ends all processes below it
        if not done:
            late = f"It took longer than {self.settings.retrain_seconds:g} seconds."
            return "failed", ErrorDetail(code="retrain_too_slow", message=late), None
        return "failed", error_of(status, said.text(), folder), None

    async def _cancelled(self, job: JobBody) -> None:
        """Returns when somebody wants the job ended."""
        while not await asyncio.to_thread(self.table.is_cancelled, job.job):
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
    """A disk that cannot be written is no bug of ours, and not the client's."""
    try:
        yield
    except OSError as e:
        if e.errno in NO_SPACE_ERRNOS:
            raise DiskFull("There is no room on the disk for the photos.") from e
        if e.errno in READ_ONLY:
            raise RetrainOff("Nothing can be written to HANDFUL_HOME here, so nothing can be retrained.") from e
        raise


async def _end(process: asyncio.subprocess.Process, reading: asyncio.Future[Any]) -> None:
    """Asks the process to end if it has not, then ends its whole group; returns when all its output is read."""
    if not reading.done():
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait({reading}, timeout=GRACE_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.wait({reading})


def _result(out: bytes) -> dict[str, Any] | None:
    try:
        result = json.loads(out)
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


def error_of(status: int, said: str, folder: Path) -> ErrorDetail:
    """The command's own sentence where it has one; no path of this machine."""
    sentences = [line.removeprefix(SAYS) for line in said.splitlines() if line.startswith(SAYS)]
    if sentences:
        message = sentences[-1].replace(str(folder / PHOTOS), "The zip")
        return ErrorDetail(code="retrain_refused", message=message)
    if status < 0:
        message = f"The process was ended from outside (signal {-status}), perhaps for lack of memory."
    else:
        message = f"The process failed (status {status}); its log, {LOG}, is in the job's folder."
    return ErrorDetail(code="retrain_failed", message=message)
