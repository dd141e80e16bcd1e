"""HTTP: handful serve, FastAPI and LitServe with the same torch network, under the same load."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from handful.service.classifier import Classifier
from PIL import Image

from benchmarks import photos
from benchmarks.bench import CACHE, Bench, PeerFailed
from benchmarks.classify import trained, trained_with_int8
from benchmarks.sections import Section, Target, judged
from benchmarks.timing import Measured, short, table

CLIENTS = (1, 8, 32)
START_SECONDS = 90
MOST_ALONE = 1.4  # p99 of one client, by the mean of decoding and network
LEAST = {"FastAPI": 2.5, "LitServe": 1.3}  # times their requests a second, for 32 clients
OURS = {"handful serve": "resnet18", "handful serve, trained with --int8": "int8"}
Loads = dict[str, dict[int, list[dict[str, Any]]]]  # server -> clients -> the load client's results, one per round


class Server:
    """One server's process, and the seconds until it was ready."""

    def __init__(self, command: list[str], port: int, environ: dict[str, str]) -> None:
        self.port, started = port, time.perf_counter()
        self.log = (CACHE / f"server-{port}.log").open("w+b")
        self.process = subprocess.Popen(command, env=environ, stdout=self.log, stderr=self.log, start_new_session=True)
        while not self._ready():
            if self.process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                self.log.seek(0)
                lines = self.log.read().decode(errors="replace").strip().splitlines()
                self.stop()
                raise PeerFailed(f"it did not start: {lines[-1] if lines else 'no output'}")
            time.sleep(0.05)
        self.ready_seconds = time.perf_counter() - started

    def _ready(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # LitServe leaves its workers behind
        self.process.wait()


@contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def handful_server(bench: Bench, name: str = "resnet18", **settings: str) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "handful", "serve", "--name", name, "--port", str(port)]
    return Server(command, port, bench.environ(**settings))


def peer_server(bench: Bench, script: str, artifact: Path) -> Server:
    port = free_port()
    return Server(bench.peer_command(script, artifact, str(port)), port, bench.environ())


def load(port: int, clients: int, seconds: float, folder: Path) -> dict[str, Any]:
    """The load client's result."""
    command = [sys.executable, "-m", "benchmarks.client", str(port), str(clients), str(seconds), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def jpegs(bench: Bench) -> Path:
    """A folder of 64 of the photos as JPEGs."""
    folder = bench.scratch("http")
    for number, file in enumerate(photos.files_below(photos.source(bench))[::3][:64]):
        with Image.open(file) as image:
            image.convert("RGB").save(folder / f"{number:03}.jpg", quality=90)
    return folder


class WithoutHttp:
    """One image without HTTP: decoding, network, prediction."""

    def __init__(self, artifact: Path, folder: Path) -> None:
        self.classifier = Classifier.load(artifact)
        self.images = [p.read_bytes() for p in photos.files_below(folder)]
        self.milliseconds: list[float] = []
        self._predict(3)
        self.milliseconds.clear()

    def measure(self, seconds: float) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self._predict(len(self.images))

    def _predict(self, count: int) -> None:
        for data in self.images[:count]:
            started = time.perf_counter()
            self.classifier.predict(self.classifier.read(data).unsqueeze(0))
            self.milliseconds.append(1000 * (time.perf_counter() - started))

    @property
    def mean(self) -> float:
        return fmean(self.milliseconds)

    @property
    def p99(self) -> float:
        ordered = sorted(self.milliseconds)
        return ordered[int(0.99 * len(ordered))]


def measure(bench: Bench, artifact: Path, folder: Path, alone: WithoutHttp) -> tuple[Loads, list[str], str]:
    """Every server's results under load, in turn with the network alone; all run at once, one is loaded at a time."""
    loads: Loads = {}
    missing, started = [], []
    seconds = 2.0 if bench.quick else 5.0
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(handful_server(bench, model))) for name, model in OURS.items()}
        for name, script in (("FastAPI", "fastapi_server"), ("LitServe", "litserve_server")):
            try:
                servers[name] = stack.enter_context(running(peer_server(bench, script, artifact)))
            except PeerFailed as e:
                missing.append(f"{name} could not run here: {e}.")
        started = [f"{name} {server.ready_seconds:.1f} s" for name, server in servers.items()]
        for name, server in list(servers.items()):
            warm = load(server.port, 8, 2.0, folder)
            if not warm["rate"]:
                missing.append(f"{name} answered none of {warm['requests']} requests with 200.")
                del servers[name]
        for _ in range(bench.repeats):
            alone.measure(seconds)
            for clients in CLIENTS:
                for name, server in servers.items():
                    result = load(server.port, clients, seconds, folder)
                    loads.setdefault(name, {}).setdefault(clients, []).append(result)
    return loads, missing, "Ready after: " + ", ".join(started) + "."


def run(bench: Bench) -> Section:
    """Targets: twice the peers at 32 clients; with one client p99 under 1.5 times that of decoding and network."""
    artifact, folder = trained(bench), jpegs(bench)
    int8_kept = trained_with_int8(bench)
    alone = WithoutHttp(artifact, folder)
    loads, missing, ready = measure(bench, artifact, folder, alone)
    rows = []
    for name, by_clients in loads.items():
        for clients, results in by_clients.items():
            rate = Measured(tuple(a["rate"] for a in results))
            ratio = _rate(loads["handful serve"], clients) / rate.median
            p50, p99 = (Measured(tuple(a[p] for a in results)).median for p in ("p50", "p99"))
            rows.append([name, clients, rate, f"{ratio:.2f}", short(p50), short(p99), sum(a["wrong"] for a in results)])
    text = table(["server", "clients", "requests/s", "handful's speed-up", "p50 ms", "p99 ms", "errors"], rows)
    intro = (
        "resnet18 at 224 pixels, multipart JPEG over loopback, client on the same cores, servers in turn. One image"
        f" without HTTP (decoding and network): {short(alone.mean)} ms, p99 {short(alone.p99)} ms."
    )
    return Section(
        title="Serving", text="\n\n".join([intro, text, int8_kept, ready, *missing]), targets=_targets(loads, alone)
    )


def _rate(by_clients: dict[int, list[dict[str, Any]]], clients: int) -> float:
    return Measured(tuple(a["rate"] for a in by_clients[clients])).median


def _targets(loads: Loads, alone: WithoutHttp) -> list[Target]:
    ours = loads["handful serve"]
    p99 = Measured(tuple(a["p99"] for a in ours[1])).median
    targets = [
        judged(
            "HTTP, one client: p99",
            f"under {MOST_ALONE} times decoding and network",
            f"{p99 / alone.mean:.2f} times ({short(p99)} and {short(alone.mean)} ms),"
            f" {p99 / alone.p99:.2f} times their p99",
            reached=p99 < MOST_ALONE * alone.mean,
            why="client, event loop and the network's threads share the cores",
        )
    ]
    others = {name: _rate(each, 32) for name, each in loads.items() if name not in OURS}
    if others:
        rates = {name: _rate(each, 32) for name, each in loads.items() if name in OURS}
        targets.append(
            judged(
                "HTTP, 32 clients, JPEG in, the same network in bfloat16",
                ", ".join(f"{least} times {peer}" for peer, least in LEAST.items()),
                "; ".join(
                    f"{name} " + ", ".join(f"{rate / other:.2f} times {peer}" for peer, other in others.items())
                    for name, rate in rates.items()
                ),
                reached=all(rates["handful serve"] >= LEAST[peer] * other for peer, other in others.items()),
                why="on few cores the network limits all servers to the same rate; with a smaller network or a GPU the"
                " server itself would matter more",
            )
        )
    return targets
