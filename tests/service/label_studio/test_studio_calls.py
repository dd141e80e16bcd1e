"""Label Studio's calls as version 1.23 sends them (recorded), over HTTP; the photos come from a stand-in of it."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import COLOURS, write_photo
from handful.service.api import Api
from handful.service.settings import Settings
from label_studio_stand_in import PERSONAL, Studio, studio_stand_in  # noqa: F401  # a fixture
from running_server import LOCAL, Server, running, until

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="choice" toName="image">'
    '<Choice value="blue"/><Choice value="red"/></Choices></View>'
)
KEY, ASKING = "a-key-that-may-do-everything", "a-key-that-may-only-ask"


@pytest.fixture(scope="module")
def server(
    home: Path,
    backbone: Path,
    studio_stand_in: Studio,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """With the model `colours`, and the empty ones `new` and `later`; the stand-in has photos of both labels."""
    folder = tmp_path_factory.mktemp("studio")
    shutil.copytree(home, folder / "home")
    for name in ("new", "later"):
        (folder / "home/photos" / name).mkdir(parents=True)
    for seed, (label, colour) in enumerate(COLOURS.items()):
        for number in range(13):
            photo = write_photo(folder / f"{label}-{number}.png", colour, 7000 + 100 * seed + number)
            studio_stand_in.files[f"/data/upload/1/{photo.name}"] = (200, {}, photo.read_bytes())
    studio_stand_in.files["/data/upload/1/broken.png"] = (200, {}, b"no photo")
    where = {"label_studio_url": studio_stand_in.url, "label_studio_key": PERSONAL}
    keys = {"api_key": KEY, "predict_key": ASKING}
    with running(
        folder / "home", None, ("serve", "--label-studio"), backbones=str(backbone), **where, **keys
    ) as server:
        yield server
        assert "Traceback" not in server.output()


def task(name: str, number: int = 22) -> dict[str, Any]:
    """As Label Studio sends it, with much that nobody asks for."""
    data = {"image": name if ":" in name else f"/data/upload/1/{name}"}
    return {
        "id": number,
        "data": data,
        "meta": {},
        "created_at": "2026-11-27T09:07:40.912610Z",
        "is_labeled": False,
        "overlap": 1,
        "inner_id": 22,
        "total_annotations": 0,
        "project": 1,
        "annotations": [],
        "predictions": [],
    }


def asked(*tasks: dict[str, Any], config: str = CONFIG) -> dict[str, Any]:
    params = {"login": None, "password": None, "context": None}
    return {"tasks": tasks, "project": "1.1795770458", "label_config": config, "params": params}


def annotated(name: str, *choices: str, action: str = "ANNOTATION_CREATED", **more: Any) -> dict[str, Any]:
    value = {"choices": list(choices)}
    result = [{"from_name": "choice", "to_name": "image", "type": "choices", "value": value}]
    annotation = {"id": 1, "result": result, "was_cancelled": False, "prediction": {}, "task": 22, "project": 1, **more}
    project = {"id": 1, "title": "Colours", "label_config": CONFIG, "model_version": "handful", "created_by": 1}
    return {"action": action, "annotation": annotation, "task": task(name), "project": project}


def send(server: Server, call: str, body: dict[str, Any], model: str = "", status: int = 200) -> Any:
    prefix = f"/models/{model}" if model else ""
    response = server.client.post(f"{prefix}/label-studio/{call}", json=body)
    assert response.status_code == status, response.text
    return response.json()


def labels(server: Server, model: str) -> dict[str, int]:
    return {each["label"]: each["photos"] for each in server.client.get(f"/models/{model}/photos").json()["labels"]}


def test_a_project_is_connected_and_its_tasks_are_answered(server: Server, studio_stand_in: Studio) -> None:  # noqa: F811
    assert server.client.get("/label-studio/health").json() == {"status": "UP", "model_class": "handful"}
    setup = {"project": "1.1795770458", "schema": CONFIG, "hostname": "http://169.254.169.254", "access_token": "x"}
    assert send(server, "setup", setup) == {"model_version": "colours:1"}
    data = base64.b64encode(studio_stand_in.files["/data/upload/1/red-0.png"][2]).decode()
    tasks = [
        task("blue-0.png"),
        task("broken.png"),
        task("https://evil.example/a.png"),
        task(f"data:image/png;base64,{data}"),
    ]
    results = send(server, "predict", asked(*tasks))["results"]
    assert results[1:3] == [[], []]
    for result, label in ((results[0], "blue"), (results[3], "red")):
        (region,) = result["result"]
        assert (region["from_name"], region["to_name"], region["type"]) == ("choice", "image", "choices")
        assert region["value"] == {"choices": [label]}
        assert region["score"] == result["score"] > 0.5
        assert result["model_version"] == "colours:1"
    answer = server.client.post("/predict", files={"image": studio_stand_in.files["/data/upload/1/blue-0.png"][2]})
    assert results[0]["score"] == pytest.approx(answer.json()["confidence"], abs=1e-3)
    without = asked(task("blue-0.png"), config=CONFIG.replace('<Choice value="blue"/>', ""))
    assert send(server, "predict", without)["results"] == [{"result": [], "score": 0, "model_version": "colours:1"}]


def test_what_cannot_be_answered_is_said_in_one_sentence(server: Server) -> None:
    for body, status, code in (
        (asked(task("broken.png")), 400, "not_an_image"),
        (asked(task("missing.png")), 502, "photo_not_fetched"),
        (asked(task("http://127.0.0.1:1/data/upload/a.png")), 400, "address_refused"),
        (asked({"id": 1, "data": {"text": "a"}}), 400, "json_broken"),
        (asked(), 400, "json_broken"),
        (asked(task("blue-0.png"), config="<View/>"), 400, "label_config_wrong"),
    ):
        assert send(server, "predict", body, status=status)["error"]["code"] == code
    assert send(server, "setup", {"schema": "<View/>"}, status=400)["error"]["code"] == "label_config_wrong"
    send(server, "setup", {"schema": CONFIG}, "nothing", 404)
    bomb = asked({"id": 1, "data": {"image": [0] * 600_000}})
    assert "more than 200,000 values" in send(server, "predict", bomb, status=400)["error"]["message"]
    many = send(server, "predict", asked(*(task("blue-0.png", number) for number in range(65))))
    assert len(many["results"]) == 1  # Label Studio then asks one by one


def test_annotations_lie_in_the_library_and_enough_of_them_start_a_training(server: Server) -> None:
    assert send(server, "setup", {"schema": CONFIG}, "new") == {"model_version": None}
    assert send(server, "predict", asked(task("blue-0.png")), "new") == {"results": [[]]}
    stored = {"status": "ok", "stored": 1, "learning": False}
    assert send(server, "webhook", annotated("blue-0.png", "red"), "new") == stored
    assert send(server, "webhook", annotated("blue-0.png", "blue", action="ANNOTATION_UPDATED"), "new") == stored
    assert send(server, "webhook", annotated("blue-0.png", "blue"), "new")["stored"] == 0
    assert labels(server, "new") == {"blue": 1, "red": 0}
    for body in (annotated("blue-1.png", "blue", was_cancelled=True), annotated("blue-1.png", "blue", "red")):
        assert send(server, "webhook", body, "new")["stored"] == 0
    assert send(server, "webhook", {"action": "PROJECT_UPDATED", "project": {"id": 1}}, "new")["status"] == "ignored"
    assert send(server, "webhook", {"action": "START_TRAINING"}, "new", 409)["error"]["code"] == "too_few_photos"
    assert learning_after(server, "new", range(1, 12)) == [False] * 21 + [True]
    (job,) = server.client.get("/jobs?model=new").json()["jobs"]
    assert job["kind"] == "train"
    server.client.delete(f"/jobs/{job['job']}")


def learning_after(server: Server, model: str, numbers: Iterable[int]) -> list[bool]:
    """Whether each annotation of photos with these numbers starts a training."""
    return [
        send(server, "webhook", annotated(f"{label}-{number}.png", label), model)["learning"]
        for number in numbers
        for label in COLOURS
    ]


@pytest.mark.slow  # a library is learned in `test_library_calls.py`
def test_what_is_annotated_is_learned_and_answered(server: Server) -> None:
    assert any(learning_after(server, "later", range(12)))
    until(lambda: server.client.get("/models/later").json()["champion"] == "1")
    (result,) = send(server, "predict", asked(task("red-12.png")), "later")["results"]
    assert result["model_version"] == "later:1"
    assert result["result"][0]["value"] == {"choices": ["red"]}


def test_a_key_may_be_a_password_and_one_for_asking_changes_nothing(server: Server) -> None:
    body, event = asked(task("blue-0.png")), annotated("blue-0.png", "red")
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", **LOCAL) as client:
        for password, path, sent, status in (
            (None, "/label-studio/predict", body, 401),
            ("wrong", "/label-studio/predict", body, 401),
            (KEY, "/label-studio/predict", body, 200),
            (ASKING, "/label-studio/predict", body, 200),
            (ASKING, "/models/new/label-studio/webhook", event, 403),
            (KEY, "/models/new/label-studio/webhook", event, 200),
            (KEY, "/models/new/retrain", event, 401),  # elsewhere a key is a bearer's
        ):
            auth = httpx.BasicAuth("any", password) if password else httpx.Auth()
            assert client.post(path, json=sent, auth=auth).status_code == status


def test_where_it_is_not_switched_on_it_is_not_there() -> None:
    async def asked_of(api: Api) -> list[httpx.Response]:
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answers = [await client.get("/label-studio/health")]
            return [*answers, await client.post("/label-studio/webhook", json={"action": "START_TRAINING"})]

    for answer in asyncio.run(asked_of(Api(Settings()))):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "label_studio_off")
