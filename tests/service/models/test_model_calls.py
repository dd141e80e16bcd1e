"""Every model of a store over HTTP: asked, listed, made, renamed, deleted and brought back, on one real server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from handful.service.artifact.store import Store
from PIL import Image
from running_server import Server, encoded, publish_copy, running, until

JPEG = encoded()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("many") / "home"
    shutil.copytree(artifact, home / "models/colours/1")  # with its report
    publish_copy(home, artifact, "first")
    publish_copy(home, artifact, "first")
    for name in ("bags", "cups", "dogs", "colours"):
        if name != "colours":
            publish_copy(home, artifact, name)
        card = home / f"models/{name}/1/card.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), "created_at": "2030-01-01T00:00:00Z"}))
    with running(home, max_models="3", poll_seconds="0.05") as server:
        yield server
        assert "Traceback" not in server.output()


def ask(server: Server, name: str) -> httpx.Response:
    return server.client.post(f"/models/{name}/predict", content=JPEG, headers={"Content-Type": "image/jpeg"})


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def names(server: Server) -> list[str]:
    return [model["name"] for model in server.client.get("/models").json()["models"]]


def loaded(server: Server) -> set[str]:
    return {model["name"] for model in server.client.get("/models").json()["models"] if model["loaded"]}


def named(server: Server, name: str) -> dict[str, object]:
    body: dict[str, object] = server.client.get(f"/models/{name}").json()
    return body


def test_the_default_is_the_model_that_was_made_first(server: Server) -> None:
    listed = server.client.get("/models").json()
    assert listed["may_change"]
    assert listed["default"] == "first"
    assert server.client.get("/readyz").text == "first:1\n"
    first = next(each for each in listed["models"] if each["name"] == "first")
    assert (first["champion"], first["versions"], first["labels"]) == ("1", 2, ["blue", "red"])
    assert first["accuracy_ci95"][0] <= first["accuracy"] <= first["accuracy_ci95"][1]
    assert set(first["verdict"]) == {"level", "title", "sentence"}


def test_each_model_answers_under_its_name_and_as_many_stay_in_memory_as_may(server: Server) -> None:
    for name in ("first", "bags", "cups", "dogs", "bags"):
        answer = ask(server, name)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == f"{name}:1"
        assert len(loaded(server)) <= 3
    assert loaded(server) == {"first", "dogs", "bags"}
    many = server.client.post("/models/cups/predict_many", files=[("images", JPEG), ("images", JPEG)])
    assert [each["model"] for each in many.json()] == ["cups:1", "cups:1"]
    assert server.client.get("/models/dogs/model").json()["name"] == "dogs"


@pytest.mark.parametrize(
    "name", ["nobody", "...", "%2e%2e%2fphotos", "a%2Fb", ".renaming.json", "%00", "x" * 300, "%F0%9F%98%80"]
)
@pytest.mark.parametrize("call", ["", "/model", "/predict"])
def test_a_model_that_is_none_is_a_404(server: Server, name: str, call: str) -> None:
    method = "POST" if call == "/predict" else "GET"
    response = server.client.request(method, f"/models/{name}{call}")
    assert response.status_code in {404, 405}, response.text


def test_a_promoted_version_answers_soon_and_a_rollback_takes_it_back(server: Server) -> None:
    assert ask(server, "first").json()["model"] == "first:1"
    detail = server.client.post("/models/first/promote", json={"version": "2"}).json()
    assert [(each["version"], each["champion"]) for each in detail["versions"]] == [("2", True), ("1", False)]
    assert detail["card"]["version"] == "2"
    until(lambda: bool(ask(server, "first").json()["model"] == "first:2"))
    assert server.client.post("/models/first/rollback").json()["champion"] == "1"
    until(lambda: bool(ask(server, "first").json()["model"] == "first:1"))
    assert code(server.client.post("/models/first/rollback")) == (409, "promote_refused")
    assert code(server.client.post("/models/first/promote", json={"version": "9"})) == (404, "model_unknown")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "../away"}, "name_wrong"),
        ({"name": ""}, "name_wrong"),
        ({"name": "con"}, "name_wrong"),
        ({"name": "漢" * 100}, "name_wrong"),
        ({"name": ".hidden"}, "name_wrong"),
        ({"name": "\ud800"}, "name_wrong"),
        ({"name": 3}, "json_broken"),
        ({"name": "good", "more": 1}, "field_unexpected"),
        ({}, "field_missing"),
        ([], "json_broken"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(server: Server, body: object, expected: str) -> None:
    sent = json.dumps(body).encode()
    response = server.client.post("/models", content=sent, headers={"Content-Type": "application/json"})
    assert code(response) == (400, expected)


def test_a_model_is_made_renamed_deleted_and_back_again(server: Server) -> None:
    made = server.client.post("/models", json={"name": "Tea cups"})
    assert made.status_code == 201
    assert (made.json()["champion"], made.json()["photos"], made.json()["labels"]) == (None, 0, [])
    assert code(server.client.post("/models", json={"name": "tea CUPS"})) == (409, "model_exists")
    photo = server.home / "photos/Tea cups/blue/1.jpg"
    photo.parent.mkdir()
    photo.write_bytes(JPEG)
    publish_copy(server.home, server.home / "models/bags/1", "Tea cups")
    assert ask(server, "Tea cups").json()["model"] == "Tea cups:1"
    assert code(server.client.patch("/models/Tea cups", json={"name": "Dogs"})) == (409, "model_exists")

    renamed = server.client.patch("/models/Tea cups", json={"name": "mugs"}).json()
    assert (renamed["name"], renamed["photos"], renamed["champion"]) == ("mugs", 1, "1")
    assert code(ask(server, "Tea cups")) == (404, "model_unknown")
    assert ask(server, "mugs").json()["model"] == "mugs:1"
    assert named(server, "mugs")["card"]["name"] == "mugs"  # type: ignore[index]

    token = server.client.delete("/models/mugs").json()["undo"]
    assert "mugs" not in names(server)
    assert code(ask(server, "mugs")) == (404, "model_unknown")
    assert server.client.post(f"/undo/{token}").json() == {"undone": "mugs is back, with all versions and photos."}
    assert ask(server, "mugs").json()["model"] == "mugs:1"
    assert named(server, "mugs")["photos"] == 1
    assert code(server.client.post(f"/undo/{token}")) == (404, "undo_over")

    again = server.client.delete("/models/mugs").json()["undo"]
    publish_copy(server.home, server.home / "models/bags/1", "mugs")
    assert named(server, "mugs")["champion"] == "2"  # a version's number is never used twice
    assert code(server.client.post(f"/undo/{again}")) == (409, "undo_refused")
    server.client.delete("/models/mugs")
    assert server.client.post(f"/undo/{again}").status_code == 200


def test_nothing_fails_but_with_404_while_a_model_comes_and_goes(server: Server) -> None:
    publish_copy(server.home, server.home / "models/bags/1", "moths")
    answers: list[int] = []
    ended = threading.Event()

    def keep_asking() -> None:
        while not ended.is_set():
            answers.append(ask(server, "moths").status_code)
            answers.append(server.client.get("/models/moths").status_code)

    def keep_promoting() -> None:
        while not ended.is_set():
            answers.append(server.client.post("/models/moths/promote", json={"version": "1"}).status_code)

    threads = [threading.Thread(target=each) for each in (keep_asking, keep_promoting, keep_promoting)]
    for thread in threads:
        thread.start()
    until(lambda: 200 in answers)
    for _ in range(5):
        token = server.client.delete("/models/moths").json()["undo"]
        time.sleep(0.05)
        assert server.client.post(f"/undo/{token}").status_code == 200
        server.client.patch("/models/moths", json={"name": "butterflies"})
        server.client.patch("/models/butterflies", json={"name": "moths"})
    ended.set()
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 404}
    assert ask(server, "moths").status_code == 200
    assert Store(server.home).versions("moths") == ["1"]


def test_the_default_model_keeps_answering_when_it_is_renamed(server: Server) -> None:
    server.client.patch("/models/first", json={"name": "the first"})
    until(lambda: server.client.get("/readyz").text.startswith("the first:"))
    assert server.client.get("/models").json()["default"] == "the first"
    server.client.patch("/models/the first", json={"name": "first"})
    until(lambda: server.client.get("/readyz").text.startswith("first:"))


def test_another_sites_page_changes_nothing(server: Server) -> None:
    foreign = {"Origin": "https://elsewhere.example", "Content-Type": "application/json"}
    for method, path in (("POST", "/models"), ("DELETE", "/models/bags"), ("POST", "/models/bags/rollback")):
        response = server.client.request(method, path, content=b'{"name":"x"}', headers=foreign)
        assert code(response) == (403, "cross_site")
    assert code(server.client.get("/models", headers={"Host": "evil.example"})) == (403, "loopback_only")


def test_a_photo_is_explained_as_a_picture(server: Server) -> None:
    for name in ("first", "cups"):
        answer = server.client.post(f"/models/{name}/explain", files={"image": encoded("PNG", side=300)})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
        assert Image.open(io.BytesIO(answer.content)).width > 1000
    broken = server.client.post("/models/first/explain", files={"image": JPEG[:200]})
    assert code(broken) == (400, "image_truncated")
    assert code(server.client.post("/models/first/explain", files={"other": JPEG})) == (400, "field_unexpected")
    assert code(server.client.post("/models/nobody/explain", files={"image": JPEG})) == (404, "model_unknown")


def test_a_report_is_shown_under_a_policy_that_allows_its_own_style_alone(server: Server, artifact: Path) -> None:
    answer = server.client.get("/models/colours/versions/1/report")
    assert answer.content == (artifact / "report/report.html").read_bytes()
    policy = answer.headers["content-security-policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "unsafe" not in policy
    assert "script" not in policy
    assert "style=" not in answer.text  # no hash would allow it
    assert code(server.client.get("/models/first/versions/1/report")) == (404, "not_kept")
    assert code(server.client.get("/models/colours/versions/9/report")) == (404, "model_unknown")
    assert code(server.client.get(f"/models/colours/versions/{'9' * 300}/report")) == (404, "model_unknown")


def test_what_was_found_wrong_is_listed_with_pictures(server: Server) -> None:
    report = server.home / "models/colours/1/report"
    photo = {"row": 3, "name": "blue/03.jpg", "label": "blue", "answer": "red", "confidence": 0.9, "sha256": "ab" * 32}
    found = {"mistakes": [photo], "mistake_count": 1, "suspects": [{**photo, "reason": "Why."}], "suspect_count": 1}
    (report / "findings.json").write_text(json.dumps(found))
    body = server.client.get("/models/colours/versions/1/findings").json()
    (mistake,) = body["mistakes"]
    assert (mistake["name"], mistake["label"], mistake["answer"]) == ("blue/03.jpg", "blue", "red")
    assert body["suspects"][0]["reason"] == "Why."
    assert body["confusion"]["labels"] == ["blue", "red"]
    assert body["per_label"]["blue"]["photos"] == 12
    picture = server.client.get(mistake["thumbnail"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size[0] <= 96
    assert "max-age" in picture.headers["cache-control"]
    (report / "findings.json").write_text("{")
    body = server.client.get("/models/colours/versions/1/findings").json()
    assert (body["listed"], body["mistakes"]) == (False, [])


def test_the_photos_that_a_version_was_learned_from_can_be_looked_at(server: Server) -> None:
    listed = server.client.get("/models/colours/versions/1/thumbnails", params={"label": "red", "limit": 5}).json()
    assert listed["total"] == 12
    assert [each["label"] for each in listed["thumbnails"]] == ["red"] * 5
    first = listed["thumbnails"][0]
    colour = Image.open(io.BytesIO(server.client.get(first["thumbnail"]).content)).convert("RGB").resize((1, 1))
    red, _, blue = colour.getpixel((0, 0))  # type: ignore[misc]
    assert red > blue
    for row in ("24", "-1", "x", "9" * 50, "%00"):
        answer = server.client.get(f"/models/colours/versions/1/thumbnails/{row}")
        assert code(answer) == (404, "not_kept"), row
    wrong = server.client.get("/models/colours/versions/1/thumbnails", params={"limit": "all"})
    assert code(wrong) == (400, "parameter_wrong")
