"""The photo library and its jobs over HTTP, as the page uses them and as an attacker would."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import COLOURS, write_photo
from handful.service.artifact.images import content_sha256
from handful.service.artifact.store import Store
from handful.service.artifact.trash import Trash
from heif import heic
from PIL import Image
from running_server import Server, encoded, running, until

JPEG = encoded()
ENDED = {"done", "failed", "cancelled", "interrupted"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Iterator[Server]:
    """Two workers without a model, and three empty libraries, one of them small."""
    home = tmp_path_factory.mktemp("library") / "home"
    for name in ("bags", "colours", "full"):
        (home / "photos" / name).mkdir(parents=True)
    limits = {"max_library_photos": "60", "max_library_megabytes": "1", "max_image_megabytes": "0.3"}
    with running(home, workers="2", backbones=str(backbone), poll_seconds="0.1", max_jobs="2", **limits) as server:
        yield server
        assert "Traceback" not in server.output()
        assert not [path for path in home.rglob(".partial-*") if path.exists()]


def upload(server: Server, label: str, *files: tuple[str, bytes], model: str = "bags") -> dict[str, Any]:
    sent = [("photos", (name, data)) for name, data in files]
    response = server.client.post(f"/models/{model}/photos", params={"label": label}, files=sent)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def listed(server: Server, model: str = "bags", **query: str) -> dict[str, Any]:
    body: dict[str, Any] = server.client.get(f"/models/{model}/photos", params=query).json()
    return body


def end_of(client: httpx.Client, job: str) -> dict[str, Any]:
    until(lambda: client.get(f"/jobs/{job}").json()["state"] in ENDED)
    ended: dict[str, Any] = client.get(f"/jobs/{job}").json()
    return ended


def assert_error(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert len(response.json()["error"]["message"]) < 400


def test_photos_are_added_listed_shown_moved_and_deleted(server: Server) -> None:
    files = [(f"Straße {seed}.jpg", encoded(seed=seed)) for seed in range(3)]
    body = upload(server, "red", *files, ("phone.heic", heic(25, 20, turns=1)), ("a.txt", b"no"), ("b.jpg", JPEG[:300]))
    assert [each["name"] for each in body["added"]] == ["Straße 0.jpg", "Straße 1.jpg", "Straße 2.jpg", "phone.heic"]
    assert {each["name"]: each["code"] for each in body["refused"]} == {
        "a.txt": "not_an_image",
        "b.jpg": "image_truncated",
    }
    again = upload(server, "blue", files[0])
    assert again == {"added": [], "same": [{**body["added"][0], "label": "red"}], "refused": []}
    assert (server.home / "photos/bags/red/Straße 0.jpg").read_bytes() == files[0][1]
    page = listed(server, label="red", limit="2", offset="1")
    assert page["total"] == 4
    assert len(page["photos"]) == 2
    assert page["labels"] == [{"label": "red", "photos": 4}]
    photo = f"/models/bags/photos/{body['added'][3]['id']}"
    thumbnail = server.client.get(f"{photo}/thumbnail")
    with Image.open(io.BytesIO(thumbnail.content)) as small:
        assert (small.format, max(small.size) <= 256) == ("JPEG", True)
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert "immutable" in thumbnail.headers["cache-control"]
    original = server.client.get(photo)
    assert original.content == heic(25, 20, turns=1)
    assert original.headers["content-disposition"] == "attachment; filename*=UTF-8''phone.heic"
    assert original.headers["x-content-type-options"] == "nosniff"
    ids = [each["id"] for each in body["added"][:2]]
    moved = server.client.post("/models/bags/photos/move", json={"ids": ids, "label": "new"}).json()
    assert moved["moved"] == 2
    assert {each["label"]: each["photos"] for each in listed(server)["labels"]} == {"new": 2, "red": 2}
    deleted = server.client.post("/models/bags/photos/delete", json={"ids": ids}).json()
    assert deleted["deleted"] == 2
    for token in (deleted["undo"], moved["undo"]):
        Trash(server.home).undo(token)
    assert {each["label"]: each["photos"] for each in listed(server)["labels"]} == {"new": 0, "red": 4}
    assert server.client.patch("/models/bags/labels/new", json={"label": "red"}).json() == {
        "renamed": 0,
        "merged": True,
    }
    assert server.client.patch("/models/bags/labels/red", json={"label": "Rot"}).json()["renamed"] == 4
    assert server.client.delete("/models/bags/labels/Rot").json()["undo"]
    assert listed(server)["total"] == 0


def test_a_photo_that_was_put_there_by_hand_is_shown_and_an_unreadable_one_has_a_problem(server: Server) -> None:
    folder = server.home / "photos/bags/by hand"
    folder.mkdir()
    (folder / "good.png").write_bytes(encoded("PNG", seed=50))
    (folder / "bad.jpg").write_bytes(JPEG[:200])
    (folder / "copy.png").write_bytes(encoded("PNG", seed=50))
    assert listed(server, label="by hand")["total"] == 2
    good = server.client.get(f"/models/bags/photos/{content_sha256(encoded('PNG', seed=50))}/thumbnail")
    assert good.status_code == 200
    assert_error(
        server.client.get(f"/models/bags/photos/{content_sha256(JPEG[:200])}/thumbnail"), 400, "image_truncated"
    )
    kinds = {each["name"]: [one["kind"] for one in each["problems"]] for each in listed(server)["photos"]}
    assert sorted(kinds.pop("bad.jpg")) == ["unreadable"]
    assert list(kinds.values()) == [["duplicate"]]


WRONG_LABELS = ("", "..", ".", "../x", "a/b", "a\\b", ".library", ".x", "x" * 101, "nul", "a\0", "Thumbs.db", "\u202ex")


def test_what_is_asked_wrongly_is_said_and_leads_nowhere(server: Server) -> None:
    client, file = server.client, {"photos": ("a.jpg", JPEG)}
    before = sorted(path.name for path in server.home.rglob("*") if path.suffix == ".jpg")
    for label in WRONG_LABELS:
        assert_error(client.post("/models/bags/photos", params={"label": label}, files=file), 400, "label_wrong")
        assert_error(client.post("/models/bags/labels", json={"label": label}), 400, "label_wrong")
        moving = {"ids": ["0" * 64], "label": label}
        assert_error(client.post("/models/bags/photos/move", json=moving), 400, "label_wrong")
    for name in ("..", "%2e%2e", "..%2f..", "nothing", "x" * 300, "%00", "%F0%9F%92%A9", ".library"):
        response = client.get(f"/models/{name}/photos")
        assert response.status_code == 404, response.text
    for photo in ("..%2F..%2Fetc", "0" * 63, "G" * 64, "0" * 64):
        assert client.get(f"/models/bags/photos/{photo}").status_code == 404
        assert client.get(f"/models/bags/photos/{photo}/thumbnail").status_code == 404
    for query in (
        {"limit": "0"},
        {"limit": "1001"},
        {"offset": "-1"},
        {"offset": "9" * 30},
        {"x": "1"},
        {"limit": "١"},
    ):
        assert_error(client.get("/models/bags/photos", params=query), 400, "parameter_wrong")
    for junk in ("{", "[]", '{"ids": []}', '{"ids": ["x"]}', '{"ids": 1}', "[" * 100_000, '{"ids": ["\\ud800"]}'):
        headers = {"Content-Type": "application/json"}
        assert_error(client.post("/models/bags/photos/delete", content=junk, headers=headers), 400, "json_broken")
    assert_error(client.post("/models/bags/photos/delete", content="{}"), 415, "media_type_unsupported")
    many = {"ids": ["0" * 64] * 20_000}
    assert_error(client.post("/models/bags/photos/delete", json=many), 413, "body_too_large")
    assert_error(client.post("/models/bags/photos?label=a", files={"image": ("a", JPEG)}), 400, "field_unexpected")
    text = {"photos": (None, b"http://127.0.0.1/a.jpg")}
    assert_error(client.post("/models/bags/photos?label=a", files=text), 400, "field_not_a_file")
    large = upload(server, "a", ("large.jpg", bytes(400_000)))
    assert [each["code"] for each in large["refused"]] == ["image_too_many_bytes"]
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert_error(client.post("/models/bags/photos?label=a", files=file, headers=headers), 403, "cross_site")
        assert_error(client.delete("/models/bags/labels/a", headers=headers), 403, "cross_site")
        assert_error(client.post("/models/bags/train", headers=headers), 403, "cross_site")
    assert sorted(path.name for path in server.home.rglob("*") if path.suffix == ".jpg") == before


def test_the_library_has_a_limit(server: Server) -> None:
    files = [(f"{seed}.jpg", encoded(seed=seed, side=8)) for seed in range(70)]
    body = upload(server, "a", *files, model="full")
    assert len(body["added"]) == 60
    assert {each["code"] for each in body["refused"]} == {"library_full"}
    assert len(body["refused"]) == 10


def test_many_at_once_change_one_library_and_nothing_is_lost(server: Server) -> None:
    images = [encoded(seed=seed, side=16) for seed in range(100, 112)]
    ids = list(map(content_sha256, images))

    def change(number: int) -> set[int]:
        """Uploads all, moves and renames meanwhile; every answer is an answer."""
        client, statuses = server.client, set[int]()
        for image in images:
            upload(server, f"l{number % 2}", (f"{number}.jpg", image))
        move = {"ids": ids[number : number + 3], "label": f"l{number % 3}"}
        statuses.add(client.post("/models/bags/photos/move", json=move).status_code)
        statuses.add(client.patch(f"/models/bags/labels/l{number % 3}", json={"label": "all"}).status_code)
        statuses.add(client.get("/models/bags/photos").status_code)
        return statuses

    with ThreadPoolExecutor(6) as pool:
        statuses = set[int]().union(*pool.map(change, range(6)))
    assert statuses <= {200, 404}
    found = [each["id"] for each in listed(server, limit="1000")["photos"]]
    assert sorted(each for each in found if each in ids) == sorted(ids)


def test_a_library_is_learned_followed_and_its_problems_are_kept(server: Server, photos: Path) -> None:
    client = server.client
    assert_error(client.post("/models/colours/train"), 409, "too_few_photos")
    assert_error(client.post("/models/colours/train", json={"backbone": "/etc"}), 400, "json_broken")
    assert_error(client.post("/models/colours/retrain", json={"from": "library"}), 503, "not_ready")
    for label in COLOURS:
        files = [(path.name, path.read_bytes()) for path in sorted((photos / label).iterdir())]
        upload(server, label, *files[:8], model="colours")
    copy = server.home / "photos/colours/red/again.png"
    with Image.open(next((photos / "red").glob("*.png"))) as image:
        image.save(copy, compress_level=1)  # the same picture in other bytes
    started = client.post("/models/colours/train", json={})
    assert started.status_code == 202, started.text
    job = started.json()
    assert (job["kind"], job["files"], started.headers["location"]) == ("train", 17, f"/jobs/{job['job']}")
    (server.home / "photos/colours/red/00.jpg").unlink()  # the job has its own
    with client.stream("GET", f"/jobs/{job['job']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = "".join(stream.iter_text()).split("\n\n")
    kinds = [event.partition("\n")[0] for event in events if event.startswith("event: ")]
    assert set(kinds[:-1]) == {"event: progress"}
    assert kinds[-1] == "event: end"
    ended = json.loads(events[-2].partition("data: ")[2])
    assert ended == client.get(f"/jobs/{job['job']}").json()
    assert (ended["state"], ended["result"]["promoted"]) == ("done", True), ended["error"]
    assert ended["result"]["images"]["used"] == 16
    assert Store(server.home).champion("colours") == "1"
    problems = {each["name"]: [one["kind"] for one in each["problems"]] for each in listed(server, "colours")["photos"]}
    assert "duplicate" in problems["again.png"] + problems[next((photos / "red").glob("*.png")).name]
    assert client.get("/jobs", params={"model": "bags"}).json() == {"jobs": []}
    assert [each["job"] for each in client.get("/jobs").json()["jobs"]] == [job["job"]]
    assert client.get("/retrain").json() == {"jobs": []}
    assert client.get("/models/colours/corrections").json()["waiting"] == 0
    assert_error(client.post("/models/colours/retrain", json={"from": "library"}), 409, "nothing_to_learn")
    correction = {"image": ("mine.png", encoded("PNG", seed=9))}
    stored = client.post("/models/colours/feedback", files=correction, data={"label": "red"})
    assert (stored.status_code, stored.json()["id"]) == (201, content_sha256(correction["image"][1]))
    assert client.post("/models/colours/feedback", files=correction, data={"label": "blue"}).json()["previous"] == "red"
    assert_error(client.post("/models/colours/feedback", files=correction, data={"label": "x"}), 400, "label_unknown")
    waiting = client.get("/models/colours/corrections").json()
    assert [(each["name"], each["label"]) for each in waiting["photos"]] == [("mine.png", "blue")]
    with server.jobs_held():
        queued = [client.post("/models/colours/evaluate", json={"from": "library"}) for _ in range(3)]
        assert [each.status_code for each in queued] == [202, 202, 429]
        for each in reversed(queued[:2]):
            assert client.delete(f"/jobs/{each.json()['job']}").json()["state"] == "cancelled"
    assert client.get("/jobs/x/events").status_code == 404


@pytest.mark.slow
def test_after_a_restart_a_job_on_the_library_runs_again_and_retrain_and_evaluate_take_the_library(
    tmp_path: Path, home: Path, backbone: Path
) -> None:
    own = tmp_path / "home"
    (own / "photos/colours").mkdir(parents=True)
    shutil.copytree(home / "models", own / "models")
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(6):
            write_photo(own / "photos/colours" / name / f"{number}.png", colour, 9000 + 100 * label + number)
    with running(own, backbones=str(backbone)) as server, server.jobs_held():
        job = server.client.post("/models/colours/train", json={}).json()["job"]
        until(lambda: server.client.get(f"/jobs/{job}").json()["state"] == "running")
        server.stop()
    with running(own, backbones=str(backbone)) as again:
        client = again.client
        assert end_of(client, job)["state"] == "done"
        for kind in ("retrain", "evaluate"):
            sent = client.post(f"/models/colours/{kind}", json={"from": "library"}).json()
            ended = end_of(client, sent["job"])
            assert (ended["kind"], ended["state"]) == (kind, "done"), ended["error"]
        report = client.get(f"/jobs/{sent['job']}/report")
        assert "sandbox" in report.headers["content-security-policy"]
        assert "colours" in report.text
        assert client.get("/models/colours/corrections").json()["waiting"] == 0
