"""The table of jobs: the same for all workers, and true whatever dies."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from handful.service.artifact.atomic import PARTIAL_KEPT_SECONDS
from handful.service.http.errors import JobEnded, JobNotFound, TooManyJobs
from handful.service.jobs.job import INTERRUPTED, Job, JobOptions, JobProgress
from handful.service.jobs.process import LOG_BYTES, TAIL_BYTES, LogFile, read_all
from handful.service.jobs.table import MOST_STARTS, PHOTOS, JobTable


@pytest.fixture
def table(tmp_path: Path) -> JobTable:
    return JobTable(tmp_path, kept=3)


def add(table: JobTable, name: str = "colours", most: int = 9) -> Job:
    upload = table.upload()
    (upload.photos / "red").mkdir()
    try:
        return table.add(upload, name, "auto", 1, most)
    finally:
        table.discard(upload)


OF_THE_PREVIOUS_RELEASE = (
    '{"job":"20260101T000000000000-00000000","name":"colours","state":"queued","promote":"auto","files":18,'
    '"created_at":"2026-01-01T00:00:00Z","started_at":null,"finished_at":null,"error":null,"result":null}\n'
)


def finish(table: JobTable, job: Job) -> None:
    table.end(job, "done", None, {"model": "colours:2"})


def test_jobs_of_a_model_are_claimed_in_order_and_each_once(table: JobTable) -> None:
    jobs = [add(table) for _ in range(3)]
    other = add(table, "shapes")
    for job in jobs:
        claimed = table.claim("colours", take=True)
        assert claimed is not None
        assert (claimed.job, claimed.state) == (job.job, "running")
        finish(table, claimed)
        assert not (table.job_folder(job.job) / "photos").exists()
    assert table.claim("colours", take=True) is None
    assert [job.job for job in table.unfinished()] == [other.job]


def test_one_holder_at_a_time_and_a_job_that_was_left_is_interrupted(table: JobTable) -> None:
    job = add(table)
    with table.running("colours") as lock:
        assert lock is not None
        table.claim("colours", take=True)
        with table.running("colours") as again, table.running("shapes") as other:
            assert again is None
            assert other is not None
    assert table.read(job.job).state == "running"
    table.claim("colours", take=False)
    assert (table.read(job.job).state, table.read(job.job).error) == ("interrupted", INTERRUPTED)


def test_a_job_on_the_library_that_was_left_waits_again_with_its_photos_but_not_for_ever(table: JobTable) -> None:
    upload = table.upload()
    (upload.photos / "red").mkdir()
    job = table.add(upload, "colours", "auto", 1, 9, "train", JobOptions(source="library", backbone="builtin"))
    table.discard(upload)
    for start in range(1, MOST_STARTS + 1):
        claimed = table.claim("colours", take=True)
        assert claimed is not None
        assert (claimed.kind, claimed.starts, claimed.options.backbone) == ("train", start, "builtin")
        assert (table.job_folder(job.job) / PHOTOS / "red").is_dir()
    assert table.claim("colours", take=True) is None
    assert (table.read(job.job).state, table.read(job.job).error) == ("interrupted", INTERRUPTED)


def test_a_table_of_an_earlier_release_goes_on(table: JobTable) -> None:
    table.folder.mkdir()
    with closing(sqlite3.connect(table.path)) as old, old:
        old.execute(
            "CREATE TABLE jobs (job TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, promote TEXT NOT NULL,"
            " files INTEGER NOT NULL, created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT,"
            " cancel_requested INTEGER NOT NULL DEFAULT FALSE, error TEXT, result TEXT)"
        )
        old.execute(
            "INSERT INTO jobs (job, name, state, promote, files, created_at)"
            " VALUES (?, 'colours', 'queued', 'auto', 18, ?)",
            ("20260101T000000000000-00000000", "2026-01-01T00:00:00+00:00"),
        )
    (job,) = table.all()
    assert (job.kind, job.options.source, job.files) == ("retrain", "zip", 18)
    claimed = table.claim("colours", take=True)
    assert claimed is not None
    finish(table, claimed)
    add(table)
    with closing(sqlite3.connect(table.path)) as later, later:
        later.execute("ALTER TABLE jobs ADD COLUMN of_a_later_release TEXT DEFAULT 'x'")
    assert [each.state for each in table.all()] == ["queued", "done"]


def test_the_command_holds_the_models_lock_when_its_worker_has_died(table: JobTable) -> None:
    add(table)
    with table.running("colours") as lock:
        assert lock is not None
        waits = "import sys; sys.stdin.read()"
        child = subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE, pass_fds=(lock,))
    with table.running("colours") as still:
        assert still is None
    child.communicate()
    with table.running("colours") as free:
        assert free is not None


def test_cancelling(table: JobTable) -> None:
    first, second = add(table), add(table)
    assert table.cancel(second.job).state == "cancelled"
    running = table.claim("colours", take=True)
    assert running is not None
    assert running.job == first.job
    assert not table.is_cancelled(first.job)
    assert table.cancel(first.job).state == "running"
    assert table.is_cancelled(first.job)
    table.claim("colours", take=False)  # its worker has died before it ended the command
    assert table.read(first.job).state == "cancelled"
    finished = add(table)
    finish(table, finished)
    with pytest.raises(JobEnded, match="done"):
        table.cancel(finished.job)


def test_a_job_that_ends_makes_room_before_it_writes(table: JobTable) -> None:
    """On a full disk it could not be ended otherwise."""
    job = add(table)
    table.path.unlink()
    table.path.mkdir()  # nothing can be written there
    with pytest.raises(OSError, match="unable to open"):
        table.end(job, "failed", INTERRUPTED, None)
    assert not (table.job_folder(job.job) / PHOTOS).exists()


def test_more_jobs_than_allowed_are_refused_and_leave_nothing(table: JobTable) -> None:
    for _ in range(2):
        add(table, most=2)
    with pytest.raises(TooManyJobs, match="2 jobs of colours"):
        add(table, most=2)
    add(table, "shapes", most=2)
    assert len(table.all()) == 3
    assert not list(table.folder.glob(".*"))


def test_only_ended_jobs_are_removed_and_the_oldest_first(table: JobTable) -> None:
    waiting = add(table)
    ended = [add(table) for _ in range(5)]
    for job in ended:
        finish(table, job)
    newest = add(table)
    assert [job.job for job in table.all()] == [newest.job, ended[4].job, ended[3].job, waiting.job]


@pytest.mark.parametrize("name", ["", "..", ".", "jobs.sqlite3", "../jobs", "x/../jobs", "\0", "x" * 5000])
def test_what_is_no_jobs_name_is_not_found(table: JobTable, name: str) -> None:
    add(table)
    with pytest.raises(JobNotFound):
        table.read(name)
    with pytest.raises(JobNotFound):
        table.cancel(name)


def test_before_the_first_job_none_is_found(table: JobTable) -> None:
    with pytest.raises(JobNotFound):
        table.cancel("20260101T000000000000-00000000")
    assert not table.folder.exists()


def test_what_dead_workers_had_gathered_is_removed_and_what_living_ones_gather_is_not(table: JobTable) -> None:
    dead, alive = table.upload(), table.upload()
    dead.lock.release()
    table.discard(table.upload())
    assert not dead.folder.exists()
    assert alive.photos.is_dir()


def test_a_killed_workers_upload_is_removed(table: JobTable) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from handful.service.jobs.table import JobTable\n"
        "JobTable(pathlib.Path(sys.argv[1]), 3).upload()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(table.folder.parent)], check=False).returncode == -9
    assert list(table.folder.glob(".upload-*"))
    table.discard(table.upload())
    assert not list(table.folder.glob(".upload-*"))


def test_a_table_of_the_previous_release_is_left_alone_and_its_folders_go_after_a_day(table: JobTable) -> None:
    """It kept one job.json per job."""
    old = table.folder / "20260101T000000000000-00000000"
    (old / PHOTOS).mkdir(parents=True)
    (old / "job.json").write_text(OF_THE_PREVIOUS_RELEASE)
    (table.folder / "open").mkdir()
    (table.folder / "open" / old.name).touch()
    assert table.all() == table.unfinished() == []
    with pytest.raises(JobNotFound):
        table.cancel(old.name)
    job = add(table)
    assert [each.job for each in table.all()] == [job.job]
    assert old.exists()
    day_ago = time.time() - PARTIAL_KEPT_SECONDS - 1
    os.utime(old, (day_ago, day_ago))
    add(table)
    assert not old.exists()


def test_a_damaged_table_is_put_aside_and_a_new_one_is_begun(table: JobTable) -> None:
    job = add(table)
    table.path.write_bytes(b"garbage, not a database at all" * 100)
    with pytest.raises(OSError, match="not a database"):
        table.all()
    assert table.all() == []
    table.end(job, "done", None, {})  # its row is gone
    job = add(table)
    assert [each.job for each in table.all()] == [job.job]


def test_many_workers_add_and_claim_without_losing_or_doubling_a_job(tmp_path: Path) -> None:
    claimed: list[str] = []

    def work() -> None:
        table = JobTable(tmp_path, kept=100)
        for _ in range(10):
            add(table, most=100)
            with table.running("colours") as lock:
                if lock is not None and (job := table.claim("colours", take=True)):
                    claimed.append(job.job)
                    finish(table, job)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = JobTable(tmp_path, kept=100)
    assert len(claimed) == len(set(claimed))
    assert len(table.all()) == 40
    assert {job.state for job in table.all()} <= {"done", "queued"}


@pytest.mark.parametrize("lines", ["", "{", '{"stage": "embed"}\n', "\xff\n", "[]\n", '{"stage": "e", "done": "x"}\n'])
def test_progress_that_cannot_be_read_is_none(table: JobTable, lines: str) -> None:
    job = add(table)
    table.claim("colours", take=True)
    assert table.read(job.job).progress is None
    (table.job_folder(job.job) / "progress").write_text(lines, encoding="latin-1")
    assert table.read(job.job).progress is None


def test_progress_is_the_last_whole_line(table: JobTable) -> None:
    job = add(table)
    table.claim("colours", take=True)
    whole = '{"stage": "embed", "done": 3, "total": null}\n'
    (table.job_folder(job.job) / "progress").write_text(whole * 500 + whole.replace("3", "7") + whole[:9])
    progress = table.read(job.job).progress
    assert progress == JobProgress(stage="embed", done=7, total=None)


def test_a_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    async def fill(data: bytes) -> LogFile:
        stream = asyncio.StreamReader()
        stream.feed_data(data)
        stream.feed_eof()
        log = LogFile(tmp_path / "log")
        await log.fill(stream)
        return log

    assert asyncio.run(fill(b"short")).tail() == "short"
    assert (tmp_path / "log").read_bytes() == b"short"
    long = b"begin" + bytes(3 * LOG_BYTES) + b"end"
    assert asyncio.run(fill(long)).tail().endswith("end")
    kept = (tmp_path / "log").read_bytes()
    assert kept.startswith(b"begin")
    assert kept.endswith(b"end")
    assert len(kept) < LOG_BYTES + TAIL_BYTES + 100
    asyncio.run(fill(bytes(LOG_BYTES) + b"end"))
    assert (tmp_path / "log").read_bytes() == bytes(LOG_BYTES) + b"\n[0 bytes left out]\nend"


def test_more_output_than_allowed_is_nothing() -> None:
    async def read(data: bytes) -> bytes:
        stream = asyncio.StreamReader()
        stream.feed_data(data)
        stream.feed_eof()
        return await read_all(stream, 10)

    assert asyncio.run(read(b"x" * 10)) == b"x" * 10
    assert asyncio.run(read(b"x" * 11)) == b""
