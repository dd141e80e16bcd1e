"""Connections that are opened and not used, or used for half a request: they are closed, and honest clients go on."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from running_server import LOCAL, Server, encoded, publish_copy, running

JPEG = encoded()
HEAD_SECONDS = 1
OPEN_FILES = 256  # that the worker may have; half the attacks below need more
HEAD = "POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: image/jpeg\r\n"
GET = "GET /livez HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("connections") / "home"
    publish_copy(home, artifact)
    with running(home, OPEN_FILES, head_seconds=str(HEAD_SECONDS), body_seconds="20") as server:
        yield server
        assert "Too many open files" not in server.output()
        assert "is a bug" not in server.output()


@contextmanager
def begun(server: Server, first: str | bytes) -> Iterator[socket.socket]:
    """A connection that has sent this in time; one that this process was too slow for is not looked at."""
    while True:
        line, began = server.connect(), time.monotonic()
        with suppress(ConnectionError):
            line.sendall(first.encode() if isinstance(first, str) else first)
        if time.monotonic() - began < HEAD_SECONDS / 2:
            break
        line.close()
    with line:
        yield line


def answer(server: Server, request: str | bytes) -> bytes:
    """Everything that the server sends until it closes the connection."""
    with begun(server, request) as line:
        return rest(line)


def assert_alive(line: socket.socket) -> None:
    """Of a connection that has asked and stays open; head and body of the answer may arrive apart."""
    received = b""
    while not received.endswith(b"alive\n"):
        chunk = line.recv(1000)
        assert chunk, received
        received += chunk


def rest(line: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while chunk := line.recv(65536):
            received += chunk
    return received


def assert_refused(answered: bytes, status: int, code: str) -> None:
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answered
    assert b"\r\nconnection: close" in head.lower()
    error = json.loads(body)["error"]
    assert error["code"] == code
    assert error["message"].endswith(".")


def honest(server: Server, count: int = 20) -> None:
    """New connections, each with one photo. One that may have sent its head too late is asked again, some times."""
    for _ in range(count):
        for _try in range(10):
            began = time.monotonic()
            try:
                status = predicted(server)
            except httpx.TransportError as e:
                status = e
            if status == 200 or time.monotonic() - began < HEAD_SECONDS:
                break
        assert status == 200


def predicted(server: Server) -> object:
    with httpx.Client(base_url=server.client.base_url, **LOCAL) as client:
        return client.post("/predict", content=JPEG, headers={"Content-Type": "image/jpeg"}).status_code


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "POST /pre",
        HEAD,
        HEAD + "Content-Length: 5000\r\n\r\n\xff",
        HEAD + "Transfer-Encoding: chunked\r\n\r\n1000\r\n\xff",
    ],
    ids=["silent", "half a line", "half a head", "half a body", "half a chunk"],
)
def test_more_unused_connections_than_files_do_not_keep_honest_clients_out(server: Server, sent: str) -> None:
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(server.connect()).sendall(sent.encode("latin-1"))
        honest(server)
    honest(server)


def test_a_silent_connection_is_closed(server: Server) -> None:
    assert answer(server, "") == b""


@pytest.mark.parametrize("sent", ["G", GET, "GET / HTTP/1.1\r\n" * 20, GET + "A: " + "b" * 16_000])
def test_half_a_head_is_408(server: Server, sent: str) -> None:
    assert_refused(answer(server, sent), 408, "head_too_slow")


def test_a_head_that_comes_byte_by_byte_is_408(server: Server) -> None:
    head = (GET + "A: b\r\n" * 20).encode()
    with begun(server, head[:1]) as line:
        with suppress(ConnectionError):
            for byte in head[1:]:
                line.sendall(bytes([byte]))
                time.sleep(0.05)
        assert_refused(rest(line), 408, "head_too_slow")


def test_half_a_second_request_is_closed_as_a_first_one(server: Server) -> None:
    with begun(server, f"{GET}\r\n") as line:
        assert_alive(line)
        line.sendall(GET.encode())
        assert_refused(rest(line), 408, "head_too_slow")


def test_a_connection_with_one_request_after_another_stays(server: Server) -> None:
    with begun(server, f"{GET}\r\n") as line:
        for _ in range(8):
            assert_alive(line)
            time.sleep(0.4)
            line.sendall(f"{GET}\r\n".encode())
        assert_alive(line)


def test_a_body_that_goes_on_after_the_answer_is_cut(server: Server) -> None:
    with begun(server, f"{GET}Content-Length: 1000000\r\n\r\n") as line, suppress(ConnectionError):
        for _ in range(600):
            line.sendall(b"x")
            time.sleep(0.05)
        pytest.fail("nothing ended the connection")


def test_a_head_without_end_is_431(server: Server) -> None:
    assert_refused(answer(server, GET + "A: " + "b" * 20_000), 431, "head_too_large")


BROKEN = {
    "length and chunks": "POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    "0\r\n\r\n",
    "chunks and length": "POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
    "0\r\n\r\n",
    "two lengths": "POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "one length twice": "POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nabcde",
    "a list of lengths": "POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 6\r\n\r\nabcdef",
    "a signed length": "POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nabcde",
    "an unknown encoding": "POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a disguised encoding": "POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "an encoding before a colon": "POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "two encodings": "POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": "POST /predict HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": "GET /livez HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
    "a folded encoding": "POST /predict HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": "GET /livez HTTP/1.1\nHost: h\n\n",
    "one bare line feed": "GET /livez HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
    "a bare line feed at the end": "GET /livez HTTP/1.1\r\nHost: h\r\n\n",
    "a bare carriage return": "GET /livez HTTP/1.1\r\nHost: h\r\nA: b\rc: d\r\n\r\n",
    "a NUL": "GET /livez HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n",
    "two hosts": "GET /livez HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
    "no host": "GET /livez HTTP/1.1\r\n\r\n",
    "a space in the path": "GET /livez /readyz HTTP/1.1\r\nHost: h\r\n\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": "GET /livez\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("request_", BROKEN.values(), ids=BROKEN)
def test_what_two_programs_could_understand_differently_is_400(server: Server, request_: str) -> None:
    assert_refused(answer(server, request_.encode("latin-1")), 400, "request_broken")


@pytest.mark.parametrize("end", ["0\r\n\r\n", "0\r\n\n", "0\r\nA: b\r\n\r\n", "0\r\nA: b\n\r\n", "0;a\r\n\r\n"])
def test_nothing_after_chunks_is_a_request(server: Server, end: str) -> None:
    chunked = f"POST /livez HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{end}"
    answered = answer(server, f"{chunked}GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answered.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close" in answered.lower()
    assert b"openapi" not in answered


def test_a_chunked_photo_is_answered(server: Server) -> None:
    def parts() -> Iterator[bytes]:
        yield JPEG[:100]
        yield JPEG[100:]

    for _ in range(2):
        response = server.client.post("/predict", content=parts(), headers={"Content-Type": "image/jpeg"})
        assert response.status_code == 200


def test_a_websocket_is_no_call_of_the_service(server: Server) -> None:
    upgrade = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    assert answer(server, f"{GET}{upgrade}Sec-WebSocket-Version: 13\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_what_was_refused_is_counted(server: Server) -> None:
    text = server.client.get("/metrics").text
    for code in ("request_broken", "head_too_slow", "head_too_large"):
        assert f'handful_errors_total{{code="{code}"}}' in text
