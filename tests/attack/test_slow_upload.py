"""An upload has the time that is set for it, and no other limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from handful.service.http.multipart import CHUNK_BYTES
from running_server import publish_copy, running
from zips import zipped

pytestmark = pytest.mark.slow


UPLOAD_SECONDS = 14  # longer than all limits of other calls together, with what BentoML's used to add: 10


def test_an_upload_may_take_as_long_as_its_setting_says(tmp_path: Path, artifact: Path) -> None:
    publish_copy(tmp_path / "home", artifact)
    body = zipped({"red/a.jpg": b"no photo" * CHUNK_BYTES}, compression=0)

    def slowly() -> Iterator[bytes]:
        part = len(body) // UPLOAD_SECONDS + 1
        for start in range(0, len(body), part):
            yield body[start : start + part]
            time.sleep(1)

    limits = {"body_seconds": "1", "answer_seconds": "1", "upload_seconds": "60", "head_seconds": "2"}
    with running(tmp_path / "home", **limits) as server:
        sent = server.client.post("/retrain", content=slowly(), headers={"Content-Type": "application/zip"})
        assert sent.status_code == 202, sent.text
        assert sent.json()["files"] == 1
        ended = server.client.delete(sent.headers["location"])
        assert ended.status_code in {200, 409}


def test_an_upload_that_takes_longer_is_408_in_our_form(tmp_path: Path, artifact: Path) -> None:
    publish_copy(tmp_path / "home", artifact)
    with running(tmp_path / "home", upload_seconds="1") as server, server.connect() as line:
        line.sendall(b"POST /retrain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/zip\r\n")
        line.sendall(b"Content-Length: 1000\r\n\r\nPK")
        answered = b""
        while chunk := line.recv(65536):
            answered += chunk
    assert answered.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":{"code":"body_too_slow"' in answered
