"""Heat maps over HTTP come from a process of their own: the same pictures, and nothing is left of it in the end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # there are no types for it
import pytest
import torch
from handful.service.artifact.store import Store
from handful.service.classifier import Classifier
from handful.service.decoding.decoder import _thumbnail
from handful.service.explain.explainer import explain_tasks
from handful.service.explain.explanation import explain_pixels
from handful.service.explain.messages import FAILED, PICTURE, REFUSED, ExplainTask
from handful.service.explain.picture import draw_explanation
from handful.service.explain.process import MODULE, Explainer
from handful.service.explain.routes import SIDE
from handful.service.http.errors import Overloaded
from handful.service.serving.champion import LoadedVersion
from numpy.typing import NDArray
from running_server import Server, alive, publish_copy, running, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    """The default model `colours`, whose second version is not its champion, and `others`."""
    home = tmp_path_factory.mktemp("explained") / "home"
    for name in ("colours", "colours", "others"):
        publish_copy(home, artifact, name)
    with running(home, name="colours", poll_seconds="0.05") as server:
        yield server
        assert "Traceback" not in server.output()


@pytest.fixture(scope="module")
def photo(photos: Path) -> bytes:
    return (photos / "red/00.jpg").read_bytes()


def explainers(parent: psutil.Process) -> list[psutil.Process]:
    return [each for each in parent.children() if alive(each) and explains(each)]


def explains(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
        return MODULE in process.cmdline()
    return False


def gone(process: psutil.Process) -> bool:
    return not alive(process)


def explained(server: Server, name: str, photo: bytes) -> bytes:
    answer = server.client.post(f"/models/{name}/explain", files={"image": photo})
    if answer.status_code == 503:  # on a loaded machine
        assert "still being started" in answer.text
        return explained(server, name, photo)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    return answer.content


def drawn_here(artifact: Path, photo: Path, model: str) -> bytes:
    """As this process draws the answer of the engines that a service chooses."""
    classifier = Classifier.load(artifact)
    preprocessing = classifier.preprocessing
    shown = preprocessing.read(_thumbnail(preprocessing.read(photo), SIDE))
    pixels = preprocessing(preprocessing.read(photo))
    (prediction,) = classifier.predict(pixels[None])
    torch.set_num_threads(1)
    return draw_explanation(explain_pixels(classifier, shown, pixels, prediction, model), short=True)


def test_the_picture_is_the_same_as_in_this_process_and_of_the_version_that_answers(
    server: Server, artifact: Path, photos: Path, photo: bytes
) -> None:
    first = explained(server, "colours", photo)
    assert first == drawn_here(artifact, photos / "red/00.jpg", "colours:1")
    others = explained(server, "others", photo)
    assert others == drawn_here(artifact, photos / "red/00.jpg", "others:1") != first
    Store(server.home).promote("colours", "2")
    until(lambda: server.client.get("/readyz").text == "colours:2\n")
    second = explained(server, "colours", photo)
    assert second == drawn_here(artifact, photos / "red/00.jpg", "colours:2") != first
    (worker,) = server.workers()
    (process,) = explainers(worker)  # one for all of them
    assert process.nice() > worker.nice()


def test_a_killed_one_is_replaced_and_the_new_one_ends_with_its_worker(server: Server, photo: bytes) -> None:
    before = explained(server, "colours", photo)
    (worker,) = server.workers()
    (first,) = explainers(worker)
    first.kill()
    until(lambda: gone(first))
    assert explained(server, "colours", photo) == before
    (second,) = explainers(worker)
    assert second.pid != first.pid
    worker.kill()
    until(lambda: gone(second))
    server.wait_for("/readyz")
    assert not [found for each in server.workers() for found in explainers(each)]  # none is started before it is needed


@pytest.mark.slow  # a further process that imports torch
def test_it_ends_with_the_service(tmp_path: Path, artifact: Path, photo: bytes) -> None:
    publish_copy(tmp_path / "home", artifact)
    with running(tmp_path / "home") as server:
        explained(server, "colours", photo)
        (worker,) = server.workers()
        (process,) = explainers(worker)
        server.stop()
        until(lambda: gone(process))


@pytest.fixture
def version(artifact: Path) -> LoadedVersion:
    status = artifact.stat()
    return LoadedVersion(artifact, "colours", Classifier.load(artifact), b"", 0, (status.st_dev, status.st_ino))


@pytest.fixture
def seen(version: LoadedVersion) -> NDArray[np.uint8]:
    side = version.classifier.preprocessing.side_pixels
    return np.full((side, side, 3), 100, np.uint8)


def own() -> list[psutil.Process]:
    return explainers(psutil.Process())


def test_who_asks_while_it_starts_is_told_so_and_an_idle_one_ends(
    version: LoadedVersion, seen: NDArray[np.uint8], photo: bytes
) -> None:
    async def ask() -> None:
        explainer = Explainer(seconds=0.1, idle_seconds=0.1)
        try:
            with pytest.raises(Overloaded, match="still being started; try again"):
                await explainer.picture(version, seen, photo)
            explainer.seconds = 600
            assert (await explainer.picture(version, seen, photo)).startswith(b"\x89PNG")
            while own():
                await asyncio.sleep(0.05)
        finally:
            explainer.close()

    asyncio.run(asyncio.wait_for(ask(), 600))


@pytest.mark.slow  # a further process that imports torch
def test_one_that_takes_too_long_is_killed(version: LoadedVersion, seen: NDArray[np.uint8], photo: bytes) -> None:
    async def ask() -> None:
        explainer = Explainer(seconds=600, idle_seconds=600)
        try:
            await explainer.picture(version, seen, photo)
            (process,) = own()
            process.suspend()
            explainer.seconds = 0.1
            with pytest.raises(Overloaded):
                await explainer.picture(version, seen, photo)
            while not gone(process):
                await asyncio.sleep(0.05)
        finally:
            explainer.close()

    asyncio.run(asyncio.wait_for(ask(), 600))


@pytest.fixture
def connection() -> Iterator[Connection]:
    """To what explains, as a thread of this process."""
    ours, theirs = socket.socketpair()
    there = Connection(theirs.detach())

    def work() -> None:
        try:
            explain_tasks(there)
        except EOFError:
            pass
        finally:
            there.close()

    thread = threading.Thread(target=work)
    thread.start()
    with Connection(ours.detach()) as here:
        yield here
    thread.join()


def task(version: LoadedVersion, **changes: object) -> ExplainTask:
    answer = {"label": "red", "confidence": 0.75, "unknown": False, "probabilities": (0.25, 0.75)}
    place = {"path": version.path, "folder": version.folder, "model": "colours:1"}
    return ExplainTask.model_validate({**answer, **place, **changes})


def answered(connection: Connection, of: ExplainTask, seen: bytes, photo: bytes) -> bytes:
    for message in (of.model_dump_json().encode(), seen, photo):
        connection.send_bytes(message)
    return connection.recv_bytes()


def test_another_folder_at_the_place_of_the_version_is_not_explained(
    connection: Connection, version: LoadedVersion, seen: NDArray[np.uint8], photo: bytes, tmp_path: Path
) -> None:
    device, inode = version.folder
    for wrong in (task(version, folder=(device, inode + 1)), task(version, path=tmp_path / "gone")):
        answer = answered(connection, wrong, seen.tobytes(), photo)
        assert answer[:1] == REFUSED
        assert answer[1:].decode().startswith("colours:1 was moved, deleted or changed after it was loaded")
    assert answered(connection, task(version), seen.tobytes(), photo)[:1] == PICTURE


def test_after_a_failure_it_says_so_and_ends(connection: Connection, version: LoadedVersion, photo: bytes) -> None:
    assert answered(connection, task(version), b"too few pixels", photo) == FAILED
    with pytest.raises(EOFError):
        connection.recv_bytes()
