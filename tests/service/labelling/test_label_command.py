"""`handful label`: the folder's photos over HTTP, and what is labelled when everything is killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # as in running_server.py
import pytest
from commands import handful
from conftest import COLOURS, write_photo
from running_server import Server, running, until

MODEL = "/models/colours"
REDS = [f"red-{number}.png" for number in range(3)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """A home with the model `colours`, and a folder of photos without labels, a broken one among them."""
    place = tmp_path_factory.mktemp("label")
    shutil.copytree(home, place / "home")
    for seed, (label, colour) in enumerate(COLOURS.items()):
        for number in range(6):
            write_photo(place / f"photos/{label}-{number}.png", colour, 9000 + 100 * seed + number)
    (place / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (place / "secret.png").write_bytes(b"not below the folder")
    return place


@contextmanager
def labelling(place: Path, *flags: str) -> Iterator[Server]:
    command: Sequence[str | Path] = ("label", place / "photos", "--model", "colours", "--out", place / "out", *flags)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BROWSER", "true")
        with running(place / "home", None, command) as server:
            yield server


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    with labelling(place) as server:
        yield server
        assert "Traceback" not in server.output()


def waiting(client: httpx.Client) -> dict[str, str]:
    response = client.get(f"{MODEL}/pool")
    assert response.status_code == 200, response.text
    return {each["name"]: each["id"] for each in response.json()["photos"]}


def give(client: httpx.Client, label: str, *ids: str) -> Any:
    response = client.post(f"{MODEL}/pool/label", json={"label": label, "ids": ids})
    assert response.status_code == 200, response.text
    return response.json()


def rows(place: Path) -> list[str]:
    return sorted(line.rpartition(",")[0] for line in (place / "out/manifest.csv").read_text().splitlines()[1:])


def test_photos_are_shown_answered_labelled_and_taken_back(server: Server, place: Path) -> None:
    client, ids = server.client, waiting(server.client)
    assert len(ids) == 13
    picture = client.get(f"{MODEL}/pool/{ids['blue-0.png']}/thumbnail")
    assert (picture.headers["content-type"], picture.content[:2]) == ("image/jpeg", b"\xff\xd8")
    answer = client.post(f"{MODEL}/pool/{ids['blue-0.png']}/predict").json()
    sent = {"image": (place / "photos/blue-0.png").read_bytes()}
    assert answer == client.post(f"{MODEL}/predict", files=sent).json()
    result = give(client, "blue", ids["blue-0.png"], ids["blue-1.png"], ids["broken.jpg"])
    assert [each["name"] for each in result["added"]] == ["blue-0.png", "blue-1.png"]
    assert [each["code"] for each in result["refused"]] == ["image_truncated"]
    assert rows(place) == ["blue/blue-0.png,blue", "blue/blue-1.png,blue"]
    assert (place / "out/blue/blue-1.png").samefile(place / "photos/blue-1.png")
    assert len(waiting(client)) == 11
    deleted = client.post(f"{MODEL}/photos/delete", json={"ids": [result["added"][0]["id"]]})
    assert deleted.status_code == 200
    until(lambda: rows(place) == ["blue/blue-1.png,blue"])
    assert "blue-0.png" in waiting(client)
    assert (place / "photos/blue-0.png").is_file()


def test_what_is_not_in_the_folder_cannot_be_asked_for(server: Server) -> None:
    client = server.client
    for photo in ("0" * 16, "..%2F..%2Fsecret.png", "secret.png"):
        assert client.get(f"{MODEL}/pool/{photo}/thumbnail").status_code == 404
        assert client.post(f"{MODEL}/pool/{photo}/predict").status_code == 404
    unknown = client.post(f"{MODEL}/pool/label", json={"label": "blue", "ids": ["../../secret.png"]})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "no_such_photo")
    wrong = client.post(f"{MODEL}/pool/label", json={"label": "../up", "ids": [next(iter(waiting(client).values()))]})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "label_wrong")
    assert client.get("/models/nothing/pool").status_code == 404
    assert client.post("/models", json={"name": "other"}).status_code == 201
    assert client.get("/models/other/pool").json() == {"photos": []}


def test_after_a_kill_it_goes_on_where_it_was(server: Server, place: Path) -> None:
    ids = waiting(server.client)
    give(server.client, "red", *(ids[name] for name in REDS))
    before = rows(place)
    for process in [psutil.Process(server.process.pid), *server.workers()]:
        process.kill()
    (place / "out/red/red-0.png").unlink()  # as if it had been killed before it was there
    with labelling(place) as again:
        until(lambda: (place / "out/red/red-0.png").exists())
        assert rows(place) == before
        assert waiting(again.client) == {name: each for name, each in ids.items() if name not in REDS}


def test_wrong_use_is_said_in_one_sentence(tmp_path: Path, place: Path) -> None:
    for arguments, message in (
        ((place / "secret.png",), "is not a folder; a folder of photos is expected."),
        ((place / "photos", "--out", place / "photos/out"), "one lies in the other"),
        ((place / "photos", "--model", "a/b", "--out", tmp_path / "out"), "it must be usable as a folder's name."),
    ):
        done = handful(tmp_path / "home", "label", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
