"""Small files that want much time or memory, sent to a real server: nobody else notices, and it stays small."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import bombs
import httpx
import psutil  # type: ignore[import-untyped]  # bentoml brings it, nobody its types
import pytest
from running_server import LOCAL, Server, alive, encoded, publish_copy, running, until

MAX_BYTES = 2_500_000_000  # of a worker and its decoders together
LEFT_BYTES = 60_000_000  # of an idle decoder
COMMENT = b"\xff\xfe\0\4\xff\xd9"  # has the marker of a picture's end in it
REFUSED: dict[str, Callable[[], bytes]] = {
    "500 scans": lambda: bombs.progressive_jpeg(500),
    "500 scans behind a comment": lambda: bombs.progressive_jpeg(500).replace(b"\xff\xda", COMMENT + b"\xff\xda", 2),
    "a row of 100 megapixels": lambda: bombs.run_length_bmp(100_000_000, 1),
    "runs of 98 megapixels": lambda: bombs.run_length_bmp(65_500, 1_500),
    "an animation's canvas of 2 GB": lambda: bombs.webp_canvas(10_000, 10_000),
    "a canvas of 268 megapixels": lambda: bombs.webp_canvas(16_383, 16_383),
    "a flat WebP of 70 megapixels": lambda: bombs.flat_webp(10_000, 7_000),
    "a tile of 2 GB": lambda: bombs.tiled_tiff(64, 22_528),
    "a grey tile of 1 GB": lambda: bombs.tiled_tiff(64, 32_768, samples=1),
}
LARGE: tuple[Callable[[], bytes], ...] = (
    lambda: bombs.png(10_000, 10_000),
    lambda: bombs.png(10_000, 10_000, depth=1),
    lambda: bombs.png(9_000, 9_000, depth=8, colour=6),
    lambda: bombs.webp_canvas(6_000, 6_000),
    lambda: bombs.progressive_jpeg(95, 6_000),
    lambda: bombs.tiled_tiff(64, 8_192),
    REFUSED["500 scans"],
    REFUSED["a tile of 2 GB"],
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("decoding")
    publish_copy(folder / "home", artifact)
    with running(folder / "home", feedback=str(folder / "feedback"), decode_seconds="3") as server:
        yield server


def send(server: Server, image: bytes, path: str = "/predict") -> httpx.Response:
    url, headers = f"http://127.0.0.1:{server.port}/{path}", {"Content-Type": "image/jpeg"}
    return httpx.post(url, content=image, headers=headers, **LOCAL)


@pytest.mark.parametrize("path", ["predict", "feedback?label=red"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_take_too_much_is_told_so(server: Server, name: str, path: str) -> None:
    response = send(server, REFUSED[name](), path)
    error = response.json()["error"]
    assert response.status_code == 413, error
    assert error["code"] in {"image_too_complex", "image_too_many_pixels"}
    assert "at most" in error["message"]


@pytest.mark.slow
def test_many_large_ones_at_once_disturb_nobody_and_leave_no_memory(server: Server) -> None:
    attacks = [make() for make in LARGE]
    honest, peak, ended = Counter[int](), [0], threading.Event()

    def ask() -> None:
        while not ended.is_set():
            honest[send(server, encoded(), "predict").status_code] += 1
            peak[0] = max(peak[0], worker_bytes(server))

    client = threading.Thread(target=ask)
    client.start()
    try:
        with ThreadPoolExecutor(6 * len(attacks)) as threads:
            paths = ("predict", "feedback?label=red")
            sent = [threads.submit(send, server, data, paths[n % 2]) for data in attacks for n in range(6)]
            assert server.status("/metrics") == 200
            answers = [each.result() for each in sent]
    finally:
        ended.set()
        client.join()
    assert {answer.status_code for answer in answers} <= {200, 201, 413, 503}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
    assert set(honest) == {200}
    assert peak[0] < MAX_BYTES
    until(lambda: all(own_bytes(process) < LEFT_BYTES for process in decoders(server)))
    assert server.status("/readyz") == 200


def test_a_slow_image_is_given_up_and_the_next_is_answered(server: Server) -> None:
    response = send(server, bombs.progressive_jpeg(99, 9_500), "predict")
    assert response.status_code in {413, 503}, response.text  # 503: on a busy machine its turn comes too late
    assert send(server, encoded(), "predict").status_code == 200


@pytest.mark.slow
def test_stuck_decoders_are_told_and_replaced(server: Server) -> None:
    with ThreadPoolExecutor(64) as threads:
        sent = [threads.submit(send, server, encoded(), "predict") for _ in range(64)]  # starts every decoder
        assert {each.result().status_code for each in sent} == {200}
        usual = psutil.Process().nice()
        stopped = [process for process in decoders(server) if process.nice() == usual]
        assert stopped
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        sent = [threads.submit(send, server, encoded(), "predict") for _ in range(64)]
        until(lambda: server.status("/readyz") == 503)
        assert "decoders are stuck" in server.client.get("/readyz").json()["error"]["message"]
        assert {server.status(path) for path in ("/livez", "/metrics", "/model")} == {200}
        assert {each.result().status_code for each in sent} == {200}
    assert server.status("/readyz") == 200
    until(lambda: not any(alive(process) for process in stopped))


def test_killed_decoders_are_replaced_and_none_outlives_its_worker(server: Server) -> None:
    left = [*decoders(server), *sources(server)]
    assert left
    for processes in (decoders, sources):
        for process in processes(server):
            process.kill()
        assert send(server, encoded(), "predict").status_code == 200
    left += [*decoders(server), *sources(server)]
    for worker in server.workers():
        worker.kill()
    until(lambda: not any(alive(process) for process in left))
    until(lambda: server.status("/readyz") == 200)
    assert send(server, encoded(), "predict").status_code == 200


def sources(server: Server) -> list[psutil.Process]:
    """The processes that decoders are forked from."""
    with suppress(psutil.NoSuchProcess):
        return [each for worker in server.workers() for each in worker.children() if is_decoding(each)]
    return []


def decoders(server: Server) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [each for source in sources(server) for each in source.children()]
    return []


def is_decoding(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "handful.service.decoding" in process.cmdline()
    return False


def own_bytes(process: psutil.Process) -> int:
    """The memory that it does not share."""
    with suppress(psutil.Error):
        return int(process.memory_full_info().uss)
    return 0


def worker_bytes(server: Server) -> int:
    """The worker's memory and that of its decoders."""
    total = 0
    for worker in server.workers():
        with suppress(psutil.Error):
            total += worker.memory_info().rss
    return total + sum(map(own_bytes, [*decoders(server), *sources(server)]))
