"""Ten minutes of honest clients beside attackers, with workers that are killed and champions that change.

    python -m benchmarks.soak [--quick] [--minutes N] [--photos FOLDER]

The first tenth is quiet: honest clients alone, as the measure. Then everything in soak_attackers.py runs, every minute
a worker is killed (`kill -9`), and every ten seconds another version becomes the champion. Exit status 1 if an honest
client lost more than a kill cut off, was slower than three times the quiet p99, or if memory grew.
"""

from __future__ import annotations

import argparse
import http.client
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil  # type: ignore[import-untyped]  # it has no types
from handful.service.artifact.store import Store

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.serving import Server, handful_server, jpegs, running
from benchmarks.soak_attackers import attacking

CLIENTS = 8
PAUSE_SECONDS = 0.1  # of an honest client between two photos: the service must have time left for the attackers
WORKERS = 2
NAME, KEY = "soak", "a-key-for-the-soak-alone"
KILL_SECONDS, SWAP_SECONDS, SAMPLE_SECONDS = 60.0, 10.0, 1.0
CUT_SECONDS = 1.0  # before and after a kill: a request then is one that the kill cut off
P99_TIMES, MEMORY_GROWTH, MOST_MEGABYTES = 3.0, 1.15, 2500


@dataclass(frozen=True)
class Request:
    """One request of an honest client."""

    started: float
    seconds: float
    status: int  # 0: the connection broke


@dataclass
class Log:
    """What happened, in seconds of the monotonic clock."""

    requests: list[Request] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    swaps: int = 0
    megabytes: list[tuple[float, float]] = field(default_factory=list)  # time, of the largest worker


class Honest(threading.Thread):
    """A client that sends one photo after the other over one connection."""

    def __init__(self, port: int, bodies: list[bytes], log: Log, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.bodies, self.log, self.ended = port, bodies, log, ended

    def run(self) -> None:
        connection = self._connect()
        while not self.ended.wait(PAUSE_SECONDS):
            started = time.monotonic()
            try:
                connection.request("POST", "/predict", random.choice(self.bodies), _headers())  # noqa: S311
                response = connection.getresponse()
                response.read()
                status = response.status
            except (OSError, http.client.HTTPException):
                status = 0
                connection.close()
                connection = self._connect()
            self.log.requests.append(Request(started, time.monotonic() - started, status))

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


def _headers() -> dict[str, str]:
    return {"Content-Type": "image/jpeg", "Authorization": f"Bearer {KEY}"}


@contextmanager
def honest(port: int, bodies: list[bytes], log: Log) -> Iterator[None]:
    ended = threading.Event()
    clients = [Honest(port, bodies, log, ended) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        ended.set()
        for client in clients:
            client.join()


@contextmanager
def every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Calls it again and again in a thread, for the first time after so many seconds."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            with suppress(psutil.Error):
                act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def workers(server: Server) -> list[psutil.Process]:
    """The processes that accept connections on the port, without those that only watch such a process."""
    listening = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if any(c.status == psutil.CONN_LISTEN and c.laddr.port == server.port for c in process.net_connections()):
                listening.append(process)
    parents = {process.ppid() for process in listening}
    return [process for process in listening if process.pid not in parents]


def kill_one(server: Server, log: Log) -> None:
    alive = workers(server)
    if len(alive) == WORKERS:
        log.kills.append(time.monotonic())
        random.choice(alive).kill()  # noqa: S311


def swap(store: Store, log: Log) -> None:
    other = {"1": "2", "2": "1"}[store.served(NAME)]
    store.promote(NAME, other)
    log.swaps += 1


def sample(server: Server, log: Log) -> None:
    sizes = [process.memory_info().rss / 1e6 for process in workers(server)]
    if sizes:
        log.megabytes.append((time.monotonic(), max(sizes)))


def soak(bench: Bench, minutes: float) -> tuple[Log, Log]:
    """The log of the quiet part, and that of the attack."""
    source = photos.source(bench)
    for seed in ("0", "1"):
        bench.handful("train", source, "--name", NAME, "--backbone", "builtin-resnet", "--seed", seed)
    bodies = [path.read_bytes() for path in photos.files_below(jpegs(bench))]
    quiet, attack = Log(), Log()
    seconds = 60 * minutes
    store = Store(bench.home)
    settings = {"HANDFUL_API_KEY": KEY, "HANDFUL_WORKERS": str(WORKERS)}
    with running(handful_server(bench, NAME, **settings)) as server:
        _wait(lambda: len(workers(server)) == WORKERS)
        time.sleep(5)
        with honest(server.port, bodies, quiet):
            time.sleep(seconds / 10)
        with (
            attacking(server.port, bodies[0], KEY),
            every(SAMPLE_SECONDS, lambda: sample(server, attack)),
            every(SWAP_SECONDS, lambda: swap(store, attack)),
            every(min(KILL_SECONDS, seconds / 4), lambda: kill_one(server, attack)),
            honest(server.port, bodies, attack),
        ):
            time.sleep(0.9 * seconds)
    return quiet, attack


def _wait(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.1)


def lost(log: Log) -> list[Request]:
    """Requests that were not answered with 200, without those that a kill cut off."""
    return [
        request
        for request in log.requests
        if request.status != 200
        and not any(
            request.started - CUT_SECONDS <= kill <= request.started + request.seconds + CUT_SECONDS
            for kill in log.kills
        )
    ]


def p99(log: Log) -> float:
    """Milliseconds, of the requests that were answered with 200."""
    times = sorted(request.seconds for request in log.requests if request.status == 200)
    return 1000 * times[int(0.99 * len(times))]


def growth(log: Log) -> float:
    """The last quarter's memory over that of the second, in which everything has happened once."""
    sizes = [megabytes for _, megabytes in log.megabytes]
    quarter = len(sizes) // 4
    return median(sizes[-quarter:]) / median(sizes[quarter : 2 * quarter])


def verdicts(quiet: Log, attack: Log) -> list[tuple[str, bool]]:
    """What was asked for, in words with the numbers, and whether it was reached."""
    missed, slower, grown = lost(attack), p99(attack) / p99(quiet), growth(attack)
    cut = sum(request.status != 200 for request in attack.requests) - len(missed)
    statuses = dict(Counter(request.status for request in missed))
    most = max(megabytes for _, megabytes in attack.megabytes)
    return [
        (f"quiet: {len(quiet.requests)} answers, {len(lost(quiet))} lost, p99 {p99(quiet):.0f} ms", not lost(quiet)),
        (
            f"attacked: {len(attack.requests)} requests, {cut} cut by {len(attack.kills)} kills,"
            f" {len(missed)} lost otherwise {statuses or ''}",
            not missed and cut <= CLIENTS * len(attack.kills),
        ),
        (f"p99 {p99(attack):.0f} ms, {slower:.2f} times the quiet one (under {P99_TIMES:g})", slower < P99_TIMES),
        (f"largest worker {most:.0f} MB (under {MOST_MEGABYTES})", most < MOST_MEGABYTES),
        (f"memory {grown:.2f} times that of the beginning (under {MEMORY_GROWTH:g})", grown < MEMORY_GROWTH),
        (f"champion changed {attack.swaps} times", attack.swaps > 0),
    ]


def main() -> int:
    """Exit status 1: something was not reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="labelled photos instead of generated ones")
    asked = parser.parse_args()
    minutes = 1.0 if asked.quick else asked.minutes
    results = verdicts(*soak(Bench(asked.photos and asked.photos.resolve(), asked.quick), minutes))
    for words, reached in results:
        print(f"{'reached' if reached else 'MISSED '}  {words}")
    return 0 if all(reached for _, reached in results) else 1


if __name__ == "__main__":
    sys.exit(main())
