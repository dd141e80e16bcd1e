"""How the service lives: it waits for a model, changes it, refuses strangers, and leaves nothing behind."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # bentoml brings it, nobody its types
import pytest
from commands import handful
from handful.service.artifact.store import Store
from running_server import LOCAL, Server, alive, encoded, publish_copy, running, until

JPEG = encoded()
KEY, ASKING = "correct-horse-battery", "staple-staple-staple"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    """Two workers, a key, tight limits, and three versions of a model."""
    home = tmp_path_factory.mktemp("guarded") / "home"
    for _ in range(3):
        publish_copy(home, artifact)
    limits = {"body_seconds": "4", "max_waiting_images": "4", "max_images": "4", "cors_origins": "https://a.example"}
    with running(home, workers="2", api_key=KEY, predict_key=ASKING, **limits) as server:
        until(lambda: len(server.workers()) == 2)
        yield server


def predict(server: Server) -> httpx.Response:
    return server.client.post("/predict", content=JPEG, headers={"Content-Type": "image/jpeg"})


class Load:
    """Clients that ask again and again in threads, and remember every answer."""

    def __init__(self, server: Server, clients: int = 4) -> None:
        self.server, self.answers, self.ended = server, list[tuple[int, str]](), threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self.ended.is_set():
            try:
                response = predict(self.server)
                model = response.json().get("model", "") if response.status_code == 200 else ""
                self.answers.append((response.status_code, model))
            except httpx.TransportError as e:
                self.answers.append((0, type(e).__name__))

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()


def may(server: Server, key: str | None) -> dict[str, bool]:
    headers = {"Authorization": f"Bearer {key}" if key else ""}
    body: dict[str, bool] = server.client.get("/access", headers=headers).json()
    return body


def test_a_key_for_asking_asks_and_changes_nothing_and_sees_no_photos(guarded: Server) -> None:
    asking = {"Authorization": f"Bearer {ASKING}"}
    assert may(guarded, KEY) == {"key_needed": True, "may_change": True, "may_ask": True}
    assert may(guarded, ASKING) == {"key_needed": True, "may_change": False, "may_ask": True}
    for key in (None, "wrong"):
        assert may(guarded, key) == {"key_needed": True, "may_change": False, "may_ask": False}
    for path in ("/predict", "/models/colours/predict"):
        assert guarded.client.post(path, files={"image": JPEG}, headers=asking).status_code == 200
    assert guarded.client.get("/models", headers=asking).json()["may_change"] is False
    assert guarded.client.get("/models/colours", headers=asking).status_code == 200
    refused = [
        *(("POST", path) for path in ("/models", "/models/colours/promote", "/models/colours/rollback", "/retrain")),
        *(("POST", "/feedback"), ("POST", "/undo/x"), ("PATCH", "/models/colours"), ("DELETE", "/models/colours")),
        *(("GET", f"/models/colours/versions/1/{what}") for what in ("report", "findings", "thumbnails/0")),
    ]
    for method, path in refused:
        answer = guarded.client.request(method, path, headers=asking)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "may_not_change"), path
    assert guarded.client.get("/models/colours/versions/1/findings").status_code == 200


@pytest.mark.parametrize("key", [None, "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer \xff"])
def test_a_call_without_the_right_key_is_401(guarded: Server, key: str | None) -> None:
    url = str(guarded.client.base_url)
    headers = {} if key is None else {b"Authorization": key.encode("latin-1")}
    for path in ("/model", "/metrics", "/openapi.json", "/nothing"):
        response = httpx.get(f"{url}{path}", headers=headers, **LOCAL)
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "key_wrong"
        assert response.headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{url}/livez", headers=headers, **LOCAL).status_code == 200
    assert httpx.get(f"{url}/readyz", headers=headers, **LOCAL).status_code == 200


def test_the_right_key_is_let_through(guarded: Server) -> None:
    assert predict(guarded).status_code == 200


def test_a_page_of_an_origin_that_is_set_may_call_and_reads_errors_too(guarded: Server) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    preflight = httpx.options(f"{guarded.client.base_url}/predict", headers=asked, **LOCAL)
    assert preflight.status_code == 200
    refused = httpx.post(f"{guarded.client.base_url}/predict", headers={"Origin": "https://a.example"}, **LOCAL)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.example"


def test_a_slow_sender_is_408_and_holds_nobody_up(guarded: Server) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\nContent-Type: image/jpeg\r\n"
    lines = [guarded.connect() for _ in range(20)]
    for line in lines:
        line.sendall(f"{head}Content-Length: 5000\r\n\r\nab".encode())
    assert predict(guarded).status_code == 200
    for line in lines:
        with line:
            assert line.recv(100).split()[1] == b"408"


def test_more_than_there_is_room_for_is_503_with_a_time_to_come_back(guarded: Server) -> None:
    big = encoded(side=1500)
    with httpx.Client(base_url=guarded.client.base_url, headers=guarded.client.headers, **LOCAL) as client:
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(client.post("/predict_many", files=[("images", ("a", big))] * 4, timeout=60))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    full = [answer for answer in answers if answer.status_code == 503]
    assert {200, 503} <= {answer.status_code for answer in answers} <= {200, 408, 503}  # 408: it was sent too slowly
    assert all(answer.json()["error"]["code"] == "overloaded" and answer.headers["retry-after"] for answer in full)
    assert predict(guarded).status_code == 200


def test_a_new_champion_is_taken_up_under_load_without_an_error(guarded: Server) -> None:
    with Load(guarded) as load:
        for version in ("2", "3", "1", "2"):
            Store(guarded.home).promote("colours", version)
            until(lambda version=version: load.answers[-20:].count((200, f"colours:{version}")) >= 20)  # type: ignore[misc]
    assert {status for status, _ in load.answers} == {200}


def test_a_version_that_does_not_load_is_refused_and_the_old_one_goes_on(guarded: Server, artifact: Path) -> None:
    until(lambda: predict(guarded).json()["model"] == "colours:2")
    version = publish_copy(guarded.home, artifact)
    weights = guarded.home / "models/colours" / version / "model.safetensors"
    weights.write_bytes(b"broken" + weights.read_bytes()[6:])
    (guarded.home / "models/colours/champion").write_text(version)
    until(lambda: guarded.output().count("The champion cannot be loaded") >= 2)
    assert {predict(guarded).json()["model"] for _ in range(10)} == {"colours:2"}
    assert guarded.status("/readyz") == 200


@pytest.mark.slow
def test_a_killed_worker_comes_back(guarded: Server) -> None:
    until(lambda: len(guarded.workers()) == 2)
    killed = guarded.workers()[0]
    with Load(guarded) as load:
        killed.kill()
        until(lambda: len([w for w in guarded.workers() if w.pid != killed.pid and alive(w)]) == 2)
        until(lambda: [status for status, _ in load.answers[-30:]] == [200] * 30)
    assert {status for status, _ in load.answers} <= {0, 200, 503}
    assert sum(status == 0 for status, _ in load.answers) <= len(load.threads)  # what the killed one had in its hands


def test_sigterm_finishes_what_is_in_flight_and_leaves_no_process(guarded: Server) -> None:
    workers = guarded.workers()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/jpeg"}
    connections = [http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=60) for _ in range(4)]
    for connection in connections:  # so that each has been accepted
        connection.request("GET", "/livez")
        assert connection.getresponse().read()
    for connection in connections:
        connection.request("POST", "/predict", JPEG, headers)
    os.kill(guarded.process.pid, signal.SIGTERM)
    assert [connection.getresponse().status for connection in connections] == [200] * len(connections)
    until(lambda: not guarded.process.is_alive())
    assert guarded.status("/livez") == 0
    until(lambda: not any(map(alive, workers)))


def test_a_sigterm_while_a_worker_is_being_replaced_ends_the_service(tmp_path: Path) -> None:
    with running(tmp_path / "home") as server:
        supervisor = server.process.pid
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children")  # read at once: it is a matter of one moment
        [worker] = server.workers()
        worker.kill()
        until(lambda: not set(children.read_text().split()) <= {str(worker.pid)}, every_seconds=0)
        server.stop()
        assert not psutil.pid_exists(supervisor)


def test_without_a_model_the_service_lives_and_the_first_one_is_served_and_no_orphan_stays(
    tmp_path: Path, artifact: Path
) -> None:
    with running(tmp_path / "home") as server:
        assert server.status("/livez") == 200
        for response in (server.client.get("/readyz"), server.client.get("/model"), predict(server)):
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "not_ready"
            assert response.headers["retry-after"]
            assert str(tmp_path) not in response.text
        publish_copy(server.home, artifact)
        server.wait_for("/readyz")
        assert predict(server).json()["model"] == "colours:1"

        workers = server.workers()
        server.process.kill()

        until(lambda: not any(map(alive, workers)))
        assert server.status("/livez") == 0


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--host", "8.8.8.8"], {}, "HANDFUL_API_KEY"),
        (["--host", "example.org"], {}, "IP address"),
        (["--name", "nothing"], {}, "colours"),
        ([], {"HANDFUL_WORKERS": "none"}, "HANDFUL_WORKERS"),
        ([], {"HANDFUL_MAX_WAITING_IMAGES": "1"}, "HANDFUL_MAX_WAITING_IMAGES"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(
    home: Path, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    sentence = refusal(home, arguments, settings)
    assert said in sentence


def test_a_port_that_is_taken_is_one_sentence_and_status_2(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = refusal(home, ["--port", port], {})
    assert sentence == f"handful: 127.0.0.1:{port} cannot be listened on: Address already in use."


def refusal(home: Path, arguments: list[str], settings: dict[str, str]) -> str:
    done = handful(home, "serve", *arguments, cwd=None, **settings)
    assert done.returncode == 2
    *words, sentence = done.stderr.splitlines()
    assert all(line.startswith("Starting the service on ") for line in words)
    assert len(words) <= 1
    return sentence
