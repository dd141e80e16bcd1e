"""Workers that die or hang, and strangers who would give their supervisor orders."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # bentoml brings it, nobody its types
import pytest
from running_server import LOCAL, Server, alive, encoded, publish_copy, running, until

JPEG = encoded()


@pytest.fixture
def model_home(tmp_path: Path, artifact: Path) -> Path:
    publish_copy(tmp_path / "home", artifact)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("pair") / "home"
    publish_copy(home, artifact)
    with running(home, workers="2", stuck_seconds="8") as server:
        until(lambda: len(server.workers()) == 2)
        yield server


class Clients:
    """Ask in threads, with a new connection each time; an answer is a status, or an error's name."""

    def __init__(self, server: Server, count: int = 4, pause: float = 0) -> None:
        self.url, self.answers, self.ended = str(server.client.base_url), list[int | str](), threading.Event()
        self.pause = pause
        self.threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self) -> None:
        while not self.ended.wait(self.pause):
            try:
                headers = {"Content-Type": "image/jpeg"}
                asked = httpx.post(f"{self.url}/predict", content=JPEG, headers=headers, **LOCAL)
                self.answers.append(asked.status_code)
            except httpx.TransportError as e:
                self.answers.append(type(e).__name__)

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        until(lambda: len(self.answers) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def lost(self) -> list[int | str]:
        return [each for each in self.answers if each != 200]


def wait_for_another(server: Server, gone: psutil.Process, count: int) -> None:
    until(lambda: not alive(gone) and len([each for each in server.workers() if alive(each)]) == count)


@pytest.mark.slow
def test_a_killed_worker_costs_only_what_it_held_since_the_other_one_answers(pair: Server) -> None:
    with Clients(pair) as clients:
        for killed in pair.workers():
            killed.kill()
            wait_for_another(pair, killed, 2)
            seen = len(clients.answers)
            until(lambda seen=seen: len(clients.answers) > seen + 50)  # type: ignore[misc]
            time.sleep(3)  # the new one begins to answer meanwhile
    assert len(clients.lost()) <= 2 * len(clients.threads)
    assert not [each for each in clients.lost() if isinstance(each, int)]  # nobody was refused


def test_a_hung_worker_is_replaced(pair: Server) -> None:
    hung = pair.workers()[0]
    with Clients(pair, pause=0.1) as clients:
        hung.send_signal(signal.SIGSTOP)
        wait_for_another(pair, hung, 2)
    assert len(clients.lost()) <= len(clients.threads)
    assert f"Worker {hung.pid} gives no sign of life" in pair.output()
    assert pair.output().count("no sign of life") == 1


@pytest.mark.slow
def test_a_killed_single_worker_is_waited_for(model_home: Path) -> None:
    with running(model_home) as server, Clients(server) as clients:
        killed = server.workers()[0]
        killed.kill()
        wait_for_another(server, killed, 1)
        seen = len(clients.answers)
        until(lambda: len(clients.answers) > seen + 20)
    assert len(clients.lost()) <= len(clients.threads)
    assert not [each for each in clients.lost() if isinstance(each, int)]


@pytest.mark.slow
def test_a_hung_worker_does_not_keep_the_service_from_ending(model_home: Path) -> None:
    with running(model_home, drain_seconds="1") as server:
        server.workers()[0].send_signal(signal.SIGSTOP)
        os.kill(server.process.pid, signal.SIGTERM)
        until(lambda: not server.process.is_alive())


def test_nobody_can_give_the_supervisor_orders(pair: Server) -> None:
    """It listens on the service's own port and nowhere else, unless in a folder that nobody else may enter."""
    family = [psutil.Process(pair.process.pid), *pair.workers()]
    ports = {each.laddr.port for each in connections(family, "inet") if each.status == psutil.CONN_LISTEN}
    assert ports == {pair.port}
    paths = {Path(each.laddr) for each in connections(family, "unix") if each.laddr}
    assert all(stat.S_IMODE(path.parent.stat().st_mode) == 0o700 for path in paths)


def connections(processes: list[psutil.Process], kind: str) -> list[Any]:
    found = list[Any]()
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # what was killed before is gone when it is looked at
            found += process.net_connections(kind)
    return found


def test_metrics_add_up_over_workers_that_are_forks(pair: Server) -> None:
    def counted() -> tuple[float, ...]:
        lines = pair.client.get("/metrics").text.splitlines()
        names = ("handful_images_total", "handful_confidence_count", 'handful_drift_images{bin="')
        values = {name: [float(each.rpartition(" ")[2]) for each in lines if each.startswith(name)] for name in names}
        return tuple(map(sum, values.values()))

    images, scored, in_windows = counted()
    for _ in range(40):
        httpx.post(f"{pair.client.base_url}/predict", content=JPEG, headers={"Content-Type": "image/jpeg"}, **LOCAL)
    assert counted() == (images + 40, scored + 40, in_windows + 2 * 40)  # two scores of each
