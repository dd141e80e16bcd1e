"""Three services follow a store that fails half of the time, while clients ask without a pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from handful.service.artifact.errors import StoreError
from handful.service.artifact.store import Store
from handful.service.models.remote_push import push_to
from running_server import LOCAL, Server, encoded, publish_copy, running, until

pytest.importorskip("moto")
pytest.importorskip("s3fs")
from store_stand_in import object_store

URL = "s3://replicas/colours"
VERSIONS = 10
AGREED_SECONDS = 120  # to be within ten is measured and printed: how busy this machine is is not known


class Clients:
    """One per service, asking without a pause; what each was answered last, and what went wrong."""

    def __init__(self, servers: list[Server]) -> None:
        self.last, self.answers, self.wrong = [""] * len(servers), 0, list[str]()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=each) for each in enumerate(servers)]

    def _ask(self, number: int, server: Server) -> None:
        photo = encoded()
        with httpx.Client(base_url=server.client.base_url, **LOCAL) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/predict", files={"image": photo})
                except httpx.HTTPError as e:
                    self.wrong.append(repr(e))
                    continue
                with self._lock:
                    self.answers += 1
                if answer.status_code == 200:
                    self.last[number] = answer.json()["model"]
                else:
                    self.wrong.append(answer.text)

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def push(maker: Store, version: int, *, promote: bool) -> None:
    """As a person would: again until it is done. A push that fails has moved nothing."""
    path = maker.path("colours", str(version))
    for _ in range(50):
        with suppress(StoreError):
            push_to(URL, path, embeddings=None, promote=promote, is_champion=False)
            return
    raise AssertionError("the store never let it in")


def problems(server: Server) -> int:
    """How often its log says that the store fails."""
    return server.output().count("cannot be followed now")


@pytest.mark.slow
def test_all_agree_after_every_promotion_and_a_rollback_and_no_request_fails(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maker = Store(tmp_path / "maker")
    for _ in range(VERSIONS + 1):
        publish_copy(maker.models.parent, artifact)

    with object_store("replicas") as (faults, _), ExitStack() as stack:
        push(maker, 1, promote=True)
        for version in range(4, VERSIONS + 2):  # the others are uploaded while the store fails
            push(maker, version, promote=False)
        homes = [tmp_path / f"replica-{number}" for number in range(3)]
        servers = [stack.enter_context(running(home, follow=URL, follow_seconds="1")) for home in homes]
        for server in servers:
            server.wait_for("/readyz")
        faults.share = 0.5
        clients, seconds = Clients(servers), dict[str, float]()

        def agree_on(version: int, what: str) -> None:
            push(maker, version, promote=True)
            began = time.monotonic()
            until(lambda: set(clients.last) == {f"colours:{version}"}, AGREED_SECONDS)
            seconds[what] = time.monotonic() - began

        with clients.asking():
            agree_on(1, "start")
            for version in range(2, VERSIONS + 2):
                agree_on(version, f"to {version}")
            faults.asked.clear()
            agree_on(VERSIONS, "back")
            fetched = [asked for asked in faults.asked if asked.startswith("GET") and "model.safetensors" in asked]
            faults.share = 1.0  # the store is away
            failures = [problems(server) for server in servers]
            before = clients.answers
            until(
                lambda: all(
                    s.output().count("cannot be followed now") > f for s, f in zip(servers, failures, strict=True)
                )
            )
            until(lambda: clients.answers > before + 100)
            faults.share = 0.0
            agree_on(VERSIONS + 1, "after it was away")
        for home in homes:
            assert len(Store(home).versions("colours")) == 5
    assert not clients.wrong
    assert not fetched
    with capsys.disabled():
        print(f"\n{clients.answers} answers; seconds until three services agreed:")  # noqa: T201
        print(", ".join(f"{what} {each:.1f}" for what, each in seconds.items()))  # noqa: T201
