"""Another process locks the table of retrainings and does not let go: only calls about retrainings notice."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from handful.service.artifact.store import Store
from handful.service.jobs.table import TABLE, JobTable
from running_server import LOCAL, encoded, publish_copy, running, until

pytestmark = pytest.mark.slow


JPEG = encoded()


def test_a_foreign_lock_stops_neither_metrics_nor_the_swap_nor_predictions(tmp_path: Path, artifact: Path) -> None:
    home = tmp_path / "home"
    for _ in range(2):
        publish_copy(home, artifact)
    JobTable(home, 10).discard(JobTable(home, 10).upload())  # makes the table
    answers: list[httpx.Response] = []
    with running(home) as server:

        def ask() -> None:
            answers.append(httpx.get(f"{server.client.base_url}/retrain", **LOCAL))

        with closing(sqlite3.connect(home / "jobs" / TABLE, isolation_level=None)) as stranger:
            stranger.execute("BEGIN EXCLUSIVE")
            threads = [threading.Thread(target=ask) for _ in range(60)]
            for thread in threads:
                thread.start()
            Store(home).promote("colours", "2")
            until(lambda: server.client.get("/readyz").text == "colours:2\n")
            assert any(thread.is_alive() for thread in threads)  # it was while they waited
            assert server.client.get("/metrics").status_code == 200
            photo = server.client.post("/predict", content=JPEG, headers={"Content-Type": "image/jpeg"})
            assert photo.json()["model"] == "colours:2"
            for thread in threads:
                thread.join()
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["error"]["code"] for answer in answers} == {"overloaded"}
        assert server.client.get("/retrain").json() == {"jobs": []}
