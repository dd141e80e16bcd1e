"""A real `handful serve` on a free local port, as a fork of what `commands.py` has imported.

`test_installation.py` starts services as new interpreters.
"""

from __future__ import annotations

import io
import json
import os
import resource
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]  # bentoml installs it; there are no types for it
from commands import Command
from handful.service.artifact.store import Store
from PIL import Image

START_SECONDS = 300  # far more than needed, so that a loaded machine does not fail the test
HELD = "jobs-are-held"  # a file in the home
PORTS = range(10_000, 30_000)  # the system gives none of these to connections, which could take one before its server
HOLDING = Path(__file__).with_name("holding")  # on the path of new interpreters
# For each client of a service: a generous time, and no TLS, whose certificates httpx would read again in 27 ms.
LOCAL: dict[str, Any] = {"timeout": 60, "trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
TIMINGS = "cache/engines.json"
_timed: dict[str, Any] = {}  # by network, what the first service of the run measured of its engines


class Server:
    """`handful serve` with its own home; `settings` are environment variables without the prefix HANDFUL_."""

    def __init__(
        self, home: Path, open_files: int | None = None, command: Sequence[str | Path] = ("serve",), /, **settings: str
    ) -> None:
        self.port, self.home = free_port(), home
        own = {f"HANDFUL_{name.upper()}": value for name, value in settings.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HANDFUL_")}
        path = os.pathsep.join([str(HOLDING), *filter(None, [os.environ.get("PYTHONPATH")])])
        held = {"PYTHONPATH": path, "JOBS_HELD_WHILE": str(home / HELD)}
        environ = {**kept, **held, **own, "HANDFUL_HOME": str(home), "OMP_WAIT_POLICY": "passive"}
        self.log = home.parent / f"{home.name}-{self.port}.log"
        self.process = Command(*command, "--port", str(self.port), environment=environ, log=self.log)
        if open_files:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (open_files, hard))
        key = {"Authorization": f"Bearer {settings['api_key']}"} if "api_key" in settings else {}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=key, **LOCAL)

    def status(self, path: str) -> int:
        """The HTTP status, or 0 where nothing listens."""
        try:
            return self.client.get(path).status_code
        except httpx.TransportError:
            return 0

    def wait_for(self, path: str, status: int = 200) -> None:
        until(lambda: self.status(path) == status or not self.process.is_alive())
        assert self.status(path) == status, self.output()

    @contextmanager
    def jobs_held(self) -> Iterator[None]:
        """Jobs that start inside the block go no further than the import of torch: none ends before it is looked at."""
        (self.home / HELD).touch()
        try:
            yield
        finally:
            (self.home / HELD).unlink()

    def workers(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.process.pid).children())
        return []

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def stop(self) -> int:
        self.client.close()
        os.kill(self.process.pid, signal.SIGTERM)
        return self.process.exit_code(START_SECONDS)


@contextmanager
def running(
    home: Path, open_files: int | None = None, command: Sequence[str | Path] = ("serve",), /, **settings: str
) -> Iterator[Server]:
    """A server that is ready; its processes are ended even if the test fails."""
    _give_timings(home)
    server = Server(home, open_files, command, **settings)
    workers: list[psutil.Process] = []
    try:
        server.wait_for("/readyz" if Store(home).names() else "/livez")
        _take_timings(home)
        workers = server.workers()
        yield server
    finally:
        try:
            if server.process.is_alive():
                server.stop()
        finally:
            server.process.kill()
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()


def _give_timings(home: Path) -> None:
    """What the first service measured of its engines: with it, this one starts in half the time."""
    if _timed and home.is_dir() and not (home / TIMINGS).exists():
        (home / TIMINGS).parent.mkdir(exist_ok=True)
        (home / TIMINGS).write_text(json.dumps(_timed))


def _take_timings(home: Path) -> None:
    with suppress(FileNotFoundError):
        _timed.update(json.loads((home / TIMINGS).read_text()))


@contextmanager
def new_interpreters(
    *words: str, program: Sequence[str], environ: Mapping[str, str], log: Path, cwd: Path | None = None
) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """`handful serve` by `program`, whose processes have imported nothing beforehand; its workers end with it."""
    port = free_port()
    command = [sys.executable, *program, "serve", *words, "--port", str(port)]
    with log.open("wb") as output:
        process = psutil.Popen(command, env=environ, cwd=cwd, stdout=output, stderr=output)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", **LOCAL)

    def ready() -> bool:
        try:
            return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return process.poll() is not None

    workers: list[psutil.Process] = []
    try:
        until(ready)
        assert process.poll() is None, log.read_text()
        workers = process.children()
        yield client, process
    finally:
        client.close()
        process.terminate()
        process.wait(START_SECONDS)
        for worker in workers:
            if worker.is_running():
                worker.kill()


def until(happened: Callable[[], bool], seconds: float = START_SECONDS, every_seconds: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"it has not happened within {seconds} seconds"
        time.sleep(every_seconds)


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def free_port() -> int:
    """A port that nothing listens on; two workers of one run, or two runs, hardly ever take the same."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port := secrets.choice(PORTS)))
            return port


def publish_copy(home: Path, artifact: Path, name: str = "colours") -> str:
    """Publishes a copy of the model as the next version, which becomes champion only if it is the first."""

    def write(folder: Path, version: str) -> None:
        for file in artifact.iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())
        card = json.loads((artifact / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**card, "name": name, "version": version}))

    return Store(home).publish(name, write).name


def encoded(kind: str = "JPEG", side: int = 64, seed: int = 0, **how: object) -> bytes:
    """A small noisy picture as the bytes of a file."""
    noise = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **how)
    return file.getvalue()
