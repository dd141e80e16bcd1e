"""Photos sent over HTTP are learned by a process of its own, which can be followed and ended; corrections are kept."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # bentoml brings it, nobody its types
import pytest
from conftest import COLOURS, write_photo
from handful.service.artifact.store import Store
from handful.service.http.errors import RetrainOff
from handful.service.http.metrics import ServiceMetrics
from handful.service.jobs.command_line import error_of
from handful.service.jobs.job import Job, JobError, JobOptions
from handful.service.jobs.worker import JobWorker
from handful.service.serving.champion import ChampionWatcher
from handful.service.settings import Settings
from running_server import Server, alive, encoded, running, until
from zips import overlapping, special, zipped, zipped_folder

JPEG, PNG = encoded(), encoded("PNG", seed=1)
GREEN = {**COLOURS, "green": (40, 200, 60)}
ENDED = {"done", "failed", "cancelled", "interrupted"}


@pytest.fixture(scope="module")
def new_photos(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Six photos of each known label and of a new one, as a zip."""
    folder = tmp_path_factory.mktemp("new")
    for label, (name, colour) in enumerate(GREEN.items()):
        for number in range(6):
            write_photo(folder / name / f"{number}.png", colour, 5000 + 100 * label + number)
    return zipped_folder(folder)


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Server]:
    """Two workers, two jobs, small zips, room for three corrections."""
    own = tmp_path_factory.mktemp("learner") / "home"
    shutil.copytree(home / "models", own / "models")
    limits = {"max_jobs": "2", "max_retrain_megabytes": "2", "max_retrain_files": "100", "poll_seconds": "0.1"}
    feedback = {"feedback": str(own.parent / "feedback"), "max_feedback_images": "3"}
    with running(own, workers="2", **limits, **feedback) as server:
        until(lambda: len(server.workers()) == 2)
        yield server
        assert "Traceback" not in server.output()


def send(server: Server, body: bytes, **headers: str) -> httpx.Response:
    return server.client.post("/retrain", content=body, headers={"Content-Type": "application/zip", **headers})


def accepted(server: Server, body: bytes) -> str:
    response = send(server, body)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/retrain/{job['job']}"
    assert job["state"] == "queued"
    return str(job["job"])


def look(server: Server, job: str) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get(f"/retrain/{job}").json()
    return found


def ended(server: Server, job: str) -> dict[str, Any]:
    until(lambda: look(server, job)["state"] in ENDED)
    return look(server, job)


def commands(server: Server) -> list[psutil.Process]:
    """The processes that train for this server, or for a dead one on the same home."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.NoSuchProcess):
            if "handful.service" in (process.info["cmdline"] or ()) and str(server.home) in " ".join(process.cmdline()):
                found.append(process)
    return found


def left(server: Server) -> set[str]:
    """Folders of photos below the folder of jobs, and its hidden folders."""
    jobs = {path.name for path in (server.home / "jobs").rglob("*") if path.is_dir()}
    return {name for name in jobs if name in {"photos"} or name.startswith(".")}


def assert_error(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    assert len(error["message"]) < 300


def test_new_photos_are_learned_and_the_new_version_answers(learner: Server, new_photos: bytes) -> None:
    sent = learner.client.post("/retrain?promote=always", files={"photos": ("new.zip", new_photos)})
    assert sent.status_code == 202
    job = sent.json()["job"]
    until(lambda: look(learner, job)["progress"] is not None or look(learner, job)["state"] in ENDED)
    done = ended(learner, job)
    assert done["state"] == "done", done["error"]
    assert done["files"] == 18
    result = done["result"]
    assert result["model"] == "colours:2"
    assert result["previous"] == "colours:1"
    assert result["new"] == 18
    assert result["promoted"] is True
    assert set(result["labels"]) == set(GREEN)
    assert Store(learner.home).champion("colours") == "2"
    until(lambda: learner.client.get("/readyz").text == "colours:2\n")
    until(lambda: predicted(learner)["model"] == "colours:2")
    assert {each["label"] for each in predicted(learner)["predictions"]} == set(GREEN)
    listed = learner.client.get("/retrain").json()["jobs"]
    assert [(each["job"], each["state"]) for each in listed] == [(job, "done")]
    assert "result" not in listed[0]
    assert not left(learner)


def predicted(server: Server) -> dict[str, Any]:
    answers = [
        server.client.post("/predict", content=encoded(), headers={"Content-Type": "image/jpeg"}) for _ in range(4)
    ]
    assert {answer.status_code for answer in answers} == {200}
    return min((answer.json() for answer in answers), key=lambda answer: str(answer["model"]))


def test_what_the_command_refuses_is_told_without_a_path() -> None:
    folder = Path("/srv/handful/jobs/1")
    said = f"loading\nhandful: {folder}/photos has no sub-folders.\n"
    job = Job(job="1", name="bags", state="running", promote="auto", files=1, created_at=datetime.now(UTC))
    assert error_of(2, said, job, folder) == JobError(code="retrain_refused", message="The zip has no sub-folders.")
    on_library = job.model_copy(update={"kind": "train", "options": JobOptions(source="library")})
    expected = JobError(code="train_refused", message="The photo library has no sub-folders.")
    assert error_of(2, said, on_library, folder) == expected
    for status, words in ((1, "status 1"), (-9, "signal 9")):
        error = error_of(status, "Traceback (most recent call last):\n  ...\nKeyError: '/srv'\n", job, folder)
        assert error.code == "retrain_failed"
        assert words in error.message
        assert "/srv" not in error.message


def test_jobs_wait_their_turn_and_are_bounded_and_can_be_cancelled(learner: Server, new_photos: bytes) -> None:
    versions = Store(learner.home).versions("colours")
    with learner.jobs_held():
        first, second = accepted(learner, new_photos), accepted(learner, new_photos)
        full = send(learner, new_photos)
        assert_error(full, 429, "too_many_jobs")
        assert full.headers["retry-after"]
        until(lambda: look(learner, first)["state"] == "running" and bool(commands(learner)))
        assert len(commands(learner)) == 1
        until(lambda: commands(learner)[0].nice() >= 10)
        for job in (second, first):
            cancelled = learner.client.delete(f"/retrain/{job}")
            assert cancelled.status_code == 200
            assert cancelled.json()["state"] == "cancelled"
            assert look(learner, job)["state"] == "cancelled"
    assert learner.client.delete(f"/retrain/{first}").json()["state"] == "cancelled"
    assert not commands(learner)
    assert not left(learner)
    assert Store(learner.home).versions("colours") == versions
    assert not list((learner.home / "models/colours").glob(".*"))


def test_a_killed_workers_job_is_interrupted_and_its_process_ends(learner: Server, new_photos: bytes) -> None:
    with learner.jobs_held():
        job = accepted(learner, new_photos)
        until(lambda: look(learner, job)["state"] == "running" and bool(commands(learner)))
        (command,) = commands(learner)
        worker = command.parent()
        worker.kill()
        until(lambda: not alive(command))
    until(lambda: learner.status("/readyz") == 200)
    interrupted = ended(learner, job)
    assert interrupted["state"] == "interrupted"
    assert interrupted["error"]["code"] == "interrupted"
    assert_error(learner.client.delete(f"/retrain/{job}"), 409, "job_ended")
    until(lambda: len(learner.workers()) == 2)
    learner.wait_for("/readyz")


@pytest.mark.slow
def test_after_a_restart_a_job_that_ran_is_interrupted_and_one_that_waited_runs(
    tmp_path: Path, home: Path, new_photos: bytes
) -> None:
    own = tmp_path / "home"
    shutil.copytree(home / "models", own / "models")
    with running(own) as server, server.jobs_held():
        first, second = accepted(server, new_photos), accepted(server, new_photos)
        until(lambda: look(server, first)["state"] == "running" and bool(commands(server)))
        server.stop()
    assert not commands(server)
    with running(own, retrain_seconds="0.1") as again:
        assert look(again, first)["state"] == "interrupted"
        late = ended(again, second)
        assert late["state"] == "failed"
        assert late["error"]["code"] == "retrain_too_slow"
        assert not commands(again)
        assert not left(again)
    assert Store(own).versions("colours") == ["1"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "not_an_archive"),
        (b"no zip", 400, "not_an_archive"),
        (zipped({"a/1.jpg": b"x" * 99})[:-30], 400, "archive_damaged"),
        (zipped({}), 400, "archive_empty"),
        (zipped({"1.jpg": b"x"}), 400, "archive_unlabelled"),
        (zipped({"../1.jpg": b"x"}), 400, "archive_unsafe"),
        (special("a/link"), 400, "archive_unsafe"),
        (zipped({"a/1.bmp": bytes(7_000_000)}), 413, "archive_too_large"),
        (zipped({f"a/{n}": b"" for n in range(101)}), 413, "archive_too_large"),
        (overlapping(9), 413, "archive_too_large"),
        (bytes(2_500_000), 413, "body_too_large"),
    ],
)
def test_a_zip_that_is_none_or_means_harm_is_refused(learner: Server, body: bytes, status: int, code: str) -> None:
    assert_error(send(learner, body), status, code)
    assert_error(learner.client.post("/retrain", files={"photos": ("a.zip", body)}), status, code)
    assert not left(learner)


def test_other_mistakes_have_their_own_words(learner: Server, new_photos: bytes) -> None:
    post = learner.client.post
    assert_error(post("/retrain", content=new_photos), 415, "media_type_unsupported")
    assert_error(send(learner, new_photos, **{"Content-Encoding": "gzip"}), 415, "media_type_unsupported")
    assert_error(post("/retrain", files={"zip": ("a.zip", new_photos)}), 400, "field_unexpected")
    assert_error(post("/retrain", files={"photos": (None, b"http://a/b.zip")}), 400, "field_not_a_file")
    assert_error(post("/retrain", files=[("photos", ("a.zip", new_photos))] * 2), 400, "too_many_images")
    assert_error(post("/retrain?promote=maybe", files={"photos": ("a.zip", new_photos)}), 400, "parameter_wrong")
    assert_error(post("/retrain?name=other", files={"photos": ("a.zip", new_photos)}), 400, "parameter_wrong")
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"", b"--b", b"--b\r\n", b'--b\r\nContent-Disposition: form-data; name="photos"\r\n\r\nx'):
        assert_error(post("/retrain", content=body, headers=broken), 400, "multipart_broken")
    assert_error(post("/retrain", content=b"--b--", headers=broken), 400, "field_missing")
    for job in ("x", "..%5C..%5Cmodels", "20260101T000000000000-00000000", "%00"):
        assert_error(learner.client.get(f"/retrain/{job}"), 404, "job_not_found")
        assert_error(learner.client.delete(f"/retrain/{job}"), 404, "job_not_found")


def test_a_page_of_another_site_cannot_start_or_end_a_retraining(learner: Server, new_photos: bytes) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        response = learner.client.post("/retrain", files={"photos": ("a.zip", new_photos)}, headers=headers)
        assert_error(response, 403, "cross_site")
        assert_error(learner.client.delete("/retrain/x", headers=headers), 403, "cross_site")
    assert_error(send(learner, new_photos, Host="evil.example"), 403, "loopback_only")


def test_a_service_that_cannot_retrain_says_so(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = tmp_path / "home"
    in_the_way.touch()
    monkeypatch.setenv("HANDFUL_HOME", str(in_the_way))
    champion = ChampionWatcher(Settings(), ServiceMetrics())
    fixed = JobWorker(Settings(model=artifact), champion, ServiceMetrics())
    none = JobWorker(Settings(max_jobs=0), champion, ServiceMetrics())
    for worker in (fixed, none):
        with pytest.raises(RetrainOff):
            worker.name()

    async def upload() -> None:
        async with none.upload():
            raise AssertionError("there is no place for an upload")

    with pytest.raises(RetrainOff, match="HANDFUL_HOME"):
        asyncio.run(upload())


def correct(server: Server, image: bytes, label: str, **more: str) -> httpx.Response:
    return server.client.post("/feedback", files={"image": ("a", image)}, data={"label": label, **more})


def test_corrections_are_kept_until_there_is_no_more_room(learner: Server) -> None:
    first = correct(learner, JPEG, "red")
    assert first.status_code == 201
    assert first.json() == {"label": "red", "previous": None, "sha256": hashlib.sha256(JPEG).hexdigest()}
    moved = learner.client.post("/feedback?label=blue", content=JPEG, headers={"Content-Type": "image/jpeg"})
    assert (moved.status_code, moved.json()["previous"]) == (200, "red")
    assert correct(learner, PNG, "grün", new="true").status_code == 201
    assert learner.client.get("/feedback").json() == {"images": {"blue": 1, "grün": 1}}
    assert correct(learner, encoded(seed=3), "red").status_code == 201
    assert_error(correct(learner, encoded(seed=4), "red"), 507, "feedback_full")
    assert {label.name for label in (learner.home.parent / "feedback").iterdir()} == {"blue", "grün", "red", ".lock"}


def test_what_is_wrong_with_a_correction_is_said(learner: Server) -> None:
    post, files = learner.client.post, {"image": ("a", JPEG)}
    assert_error(correct(learner, b"no image", "red"), 400, "not_an_image")
    assert_error(correct(learner, JPEG[:300], "red"), 400, "image_truncated")
    assert_error(correct(learner, JPEG, "yellow"), 400, "label_unknown")
    assert_error(correct(learner, JPEG, "../red", new="true"), 400, "label_wrong")
    assert_error(correct(learner, JPEG, "red", new="yes"), 400, "parameter_wrong")
    assert_error(correct(learner, JPEG, "red", more="x"), 400, "field_unexpected")
    assert_error(correct(learner, bytes(21_000_000), "red"), 413, "body_too_large")
    assert_error(post("/feedback", files=files), 400, "field_missing")
    assert_error(post("/feedback?label=red", files=files, data={"label": "red"}), 400, "field_unexpected")
    assert_error(post("/feedback", files={**files, "label": ("a", b"red")}), 400, "field_unexpected")
    assert_error(post("/feedback", files={**files, "label": (None, b"\xff")}), 400, "field_unexpected")
    assert_error(post("/feedback", files={"label": (None, b"red")}), 400, "image_missing")
    assert_error(post("/feedback?lable=red", files=files), 400, "parameter_wrong")
    assert_error(
        post("/feedback?label=red", content=JPEG, headers={"Content-Type": "a/b"}), 415, "media_type_unsupported"
    )
    assert_error(post("/feedback", headers={"Origin": "https://evil.example"}), 403, "cross_site")
