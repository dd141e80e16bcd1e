"""What a client sends cannot make the service work for long, tell a stranger anything, or take bytes without end."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from handful.service.http.auth import LIVENESS_PATHS
from handful.service.http.exchange import DROPPED_BYTES
from handful.service.http.keys import FREE_WRONG_KEYS, MAX_PAUSED
from handful.service.page.files import PAGE_PATHS
from running_server import LOCAL, Server, encoded, publish_copy, running, until
from zips import zipped

JPEG = encoded()
OLD_KEY, NEW_KEY = "an-old-key-of-16-letters", "a-new-key-of-16-letters"
CPU_SECONDS = 1.0  # far more than any of these needs; the quadratic parsers that once ran here took 10 to 21
FORM = "multipart/form-data; boundary=b"
HEAD_OF_PART = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"'
SOCKET_BYTES = 40_000_000  # that the kernel may hold of what was sent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    """Without a key, with a folder for corrections."""
    folder = tmp_path_factory.mktemp("open")
    publish_copy(folder / "home", artifact)
    with running(folder / "home", feedback=str(folder / "corrections")) as server:
        yield server
        assert "Traceback" not in server.output()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    """With two keys; the client of the fixture sends none."""
    home = tmp_path_factory.mktemp("guarded") / "home"
    publish_copy(home, artifact)
    with running(home, api_key=f"{OLD_KEY}, {NEW_KEY}") as server:
        del server.client.headers["authorization"]
        yield server
        assert OLD_KEY not in server.output()


class Cost:
    """The processor time that the worker spends in the block."""

    def __init__(self, server: Server) -> None:
        (self.worker,) = server.workers()

    def __enter__(self) -> Cost:
        self.before = self._seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = self._seconds() - self.before

    def _seconds(self) -> float:
        times = self.worker.cpu_times()
        return float(times.user + times.system)


def post(server: Server, path: str, body: bytes, content_type: str) -> httpx.Response:
    return server.client.post(path, content=body, headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    "fill", ['"' + ";" * 50_000, ";" * 50_000, '"' + "\\" * 50_000, " " * 50_000 + "b", "; a=b" * 10_000]
)
def test_a_long_content_type_costs_nothing(server: Server, fill: str) -> None:
    with Cost(server) as cost:
        response = post(server, "/predict", b"x", f"{FORM}; a={fill}")
    assert response.json()["error"]["code"] == "multipart_broken"
    assert cost.seconds < CPU_SECONDS


@pytest.mark.parametrize("fill", [b";", b"\\", b'"', b" ", b"; a=b", b"=", b'\\";'])
@pytest.mark.parametrize("size", [1900, 8000])
def test_long_heads_of_64_parts_cost_nothing(server: Server, fill: bytes, size: int) -> None:
    part = HEAD_OF_PART + b'; x="' + (fill * size)[:size] + b"\r\n\r\nx\r\n"
    with Cost(server) as cost:
        response = post(server, "/predict_many", part * 64 + b"--b--", FORM)
    assert response.status_code in {200, 400}
    assert cost.seconds < CPU_SECONDS


@pytest.mark.parametrize("fill", ["a=b,;", '";', ",", "\\", "1,", "%41", "00-"])
def test_long_headers_of_any_name_cost_nothing(server: Server, fill: str) -> None:
    value = (fill * 20_000)[:20_000]
    names = ("Accept", "Accept-Encoding", "Authorization", "Cookie", "Host", "Origin", "Range", "X-Forwarded-For")
    with Cost(server) as cost:
        for name in (*names, "traceparent", "tracestate", "baggage", "If-None-Match", "Forwarded", "Sec-Fetch-Site"):
            for path in ("/model", "/page/page.js"):
                assert server.client.get(path, headers={name: value}).status_code < 500
    assert cost.seconds < CPU_SECONDS


@pytest.mark.parametrize("fill", ["a=b&", "&", "%41=", "label=x&", "a;", "+"])
def test_long_queries_and_paths_cost_nothing(server: Server, fill: str) -> None:
    with Cost(server) as cost:
        long = server.client.get(f"/model?{(fill * 20_000)[:20_000]}")
        allowed = server.client.post(f"/feedback?{(fill * 4_000)[:4_000]}", content=JPEG)
        lost = server.client.get("/retrain/" + (fill.replace("&", "/") * 20_000)[:20_000])
    assert (long.status_code, long.json()["error"]["code"]) == (400, "parameter_wrong")
    assert "at most 4096 are allowed" in long.json()["error"]["message"]
    assert allowed.status_code in {400, 415}
    assert lost.status_code == 404
    assert cost.seconds < CPU_SECONDS


@pytest.mark.parametrize("label", ["é" * 9_000_000, "a" * 1001])
def test_a_label_of_megabytes_is_refused_by_its_length(server: Server, label: str) -> None:
    with Cost(server) as cost:
        response = server.client.post("/feedback", files={"image": ("a", JPEG)}, data={"label": label})
    assert response.json()["error"]["code"] == "field_unexpected"
    assert len(response.text) < 300
    assert cost.seconds < CPU_SECONDS


def calls(server: Server, key: str | None = None) -> list[tuple[str, str]]:
    """Method and path of every call that the service describes."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    paths: dict[str, Any] = server.client.get("/openapi.json", headers=headers).json()["paths"]
    return [
        (method.upper(), path.replace("{job}", "x"))
        for path, item in paths.items()
        for method in item
        if method != "parameters"
    ]


@pytest.mark.parametrize("host", ["evil.example", "rebound.example:80", "localhost.evil.example", "10.0.0.1", "[", ""])
def test_a_rebound_name_is_told_nothing_and_changes_nothing(server: Server, host: str) -> None:
    for method, path in calls(server):
        response = server.client.request(method, path, headers={"Host": host})
        if path in PAGE_PATHS | LIVENESS_PATHS:
            assert response.status_code == 200
            assert "colours" not in response.text
        else:
            assert (response.status_code, response.json()["error"]["code"]) == (403, "loopback_only"), path


def test_another_sites_page_can_start_no_work(server: Server) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for method, path in calls(server):
        if method != "GET":
            response = server.client.request(method, path, headers=headers)
            assert (response.status_code, response.json()["error"]["code"]) == (403, "cross_site")


def test_allow_lists_what_the_path_has_and_nothing_else(server: Server) -> None:
    methods: dict[str, set[str]] = {}
    for method, path in calls(server):
        methods.setdefault(path, set()).update({"GET", "HEAD"} if method == "GET" else {method})
    for path, allowed in methods.items():
        for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"} - allowed:
            response = server.client.request(method, path)
            if path.endswith(("/photos/move", "/photos/delete")) and method in {"GET", "HEAD"}:
                assert response.status_code == 404  # a photo's id may stand there
                continue
            assert response.status_code == 405
            assert set(response.headers["allow"].split(", ")) == allowed, path
            assert method == "HEAD" or response.json()["error"]["code"] == "method_not_allowed"


def test_every_answer_says_how_a_browser_must_treat_it(server: Server) -> None:
    for method, path in [*calls(server), ("GET", "/nothing"), ("PUT", "/model")]:
        headers = server.client.request(method, path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-cache" if path in PAGE_PATHS else "no-store")
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]


def test_the_page_has_no_inline_code(server: Server) -> None:
    for path, script in (("/", "page/page.js"), ("/docs", "page/docs.js")):
        page = server.client.get(path).text
        assert f'<script type="module" src="{script}"></script>' in page
        for inline in ("<style", "style=", " on", "javascript:"):
            assert inline not in page.replace(" one here", "")
    types = {path: server.client.get(path).headers["content-type"].partition(";")[0] for path in PAGE_PATHS}
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
    assert types == {path: kinds[path.rpartition(".")[2]] if "." in path else "text/html" for path in PAGE_PATHS}


@pytest.mark.parametrize(
    "name",
    ["files.py", "..%2fapi.py", "%2e%2e%2fapi.py", "../api.py", "page.js/", "PAGE.JS", "", "%00page.js", "nothing.js"],
)
def test_the_page_has_the_parts_of_its_table_and_no_other_file(server: Server, name: str) -> None:
    response = server.client.get(f"/page/{name}")
    assert response.status_code in {404, 401}
    assert "import" not in response.text


def test_what_tells_of_photos_can_be_read_by_its_owner_alone(server: Server) -> None:
    assert server.client.post("/feedback", files={"image": ("a", JPEG)}, data={"label": "red"}).status_code == 201
    photos = zipped({f"red/{n}.jpg": encoded(seed=n) for n in range(2)})
    assert server.client.post("/retrain?promote=never", files={"photos": ("a.zip", photos)}).status_code == 202
    corrections = server.home.parent / "corrections"
    for path in [corrections, *corrections.rglob("*")]:
        if path.name != ".lock":
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((server.home / "jobs").stat().st_mode) == 0o700


@pytest.mark.parametrize("key", [OLD_KEY, NEW_KEY])
def test_two_keys_are_valid_at_once(guarded: Server, key: str) -> None:
    assert guarded.client.get("/model", headers={"Authorization": f"Bearer {key}"}).status_code == 200


@pytest.mark.parametrize("key", [f"{OLD_KEY},{NEW_KEY}", f"{OLD_KEY}, {NEW_KEY}", "x", ",", OLD_KEY[:-1]])
def test_nothing_else_is_a_key(guarded: Server, key: str) -> None:
    assert guarded.client.get("/model", headers={"Authorization": f"Bearer {key}"}).status_code in {401, 429}


@pytest.mark.parametrize("framing", [b"Content-Length: 10000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
@pytest.mark.parametrize("path", [b"/predict", b"/nothing", b"/livez"])
def test_a_body_that_nobody_reads_is_answered_at_once_and_not_taken_to_its_end(
    guarded: Server, path: bytes, framing: bytes
) -> None:
    with guarded.connect() as line:
        line.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: h\r\nContent-Type: image/jpeg\r\n" + framing)
        answer = line.recv(4096)  # nothing of the body has been sent
        assert answer.split()[1] == (b"405" if path == b"/livez" else b"401")
        assert b"connection: close" in answer.lower()
        assert b"nosniff" in answer
        assert sent_before_the_end(line) < DROPPED_BYTES + SOCKET_BYTES


def sent_before_the_end(line: socket.socket) -> int:
    chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    sent = 0
    with suppress(ConnectionError):
        while sent < 10 * DROPPED_BYTES:
            line.sendall(chunk)
            sent += len(chunk)
    return sent


def test_a_client_that_waits_for_a_hundred_is_not_told_to_go_on(guarded: Server) -> None:
    with guarded.connect() as line:
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_large_photo_without_the_key_gets_its_401_and_a_small_answer_keeps_the_connection(guarded: Server) -> None:
    response = post(guarded, "/predict", b"\xff" * 19_000_000, "image/jpeg")
    assert response.status_code == 401
    assert "connection" not in guarded.client.get("/model").headers


def test_a_flood_of_wrong_keys_is_slowed_and_the_right_key_is_not(guarded: Server) -> None:
    statuses, ended = list[int](), threading.Event()

    def guess() -> None:
        headers = {"Authorization": "Bearer a-guess-of-sixteen-letters"}
        with httpx.Client(base_url=guarded.client.base_url, headers=headers, **LOCAL) as client:
            while not ended.is_set():
                statuses.append(client.get("/model").status_code)

    threads = [threading.Thread(target=guess) for _ in range(MAX_PAUSED + 16)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: 429 in statuses)
        right = [guarded.client.get("/model", headers={"Authorization": f"Bearer {NEW_KEY}"}) for _ in range(20)]
    finally:
        ended.set()
    for thread in threads:
        thread.join()
    assert {response.status_code for response in right} == {200}
    assert set(statuses) == {401, 429}
    assert statuses.count(401) >= FREE_WRONG_KEYS
