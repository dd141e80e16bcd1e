"""`handful demo`: sample, check, train, classify and serve, offline, on generated photos.

Each step is the command that a person would type, printed before it runs.
"""

from __future__ import annotations

import http.client
import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from handful.service.artifact.errors import HandfulError, UsageError
from handful.service.terminal.output import command_line

NAME = "demo"
HOST, PORT = "127.0.0.1", 3000


def run_demo(folder: Path) -> dict[str, Any]:
    """Runs every step in `folder`; the result is `train`'s with `classified`, `classify`'s, beside it."""
    photos, out = photos_of(folder), folder / "predictions.csv"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; a folder to work in is expected.")
    folder.mkdir(parents=True, exist_ok=True)
    if not photos.exists():
        _step("sample", str(photos))
    _step("check", str(photos), allow_problems=True)
    trained = _step("train", str(photos), "--name", NAME, "--backbone", "builtin", allow_problems=True)
    (folder / "predictions.csv.partial").unlink(missing_ok=True)
    classified = _step("classify", str(photos), "--out", str(out), "--model", trained["model"])
    return {**trained, "classified": classified}


def photos_of(folder: Path) -> Path:
    """The photos of a demo that works in this folder."""
    return folder / "photos"


def _step(*arguments: str, allow_problems: bool = False) -> dict[str, Any]:
    """Runs `handful ARGUMENTS --json`, its progress on our stderr, and returns its document."""
    click.echo(f"$ {command_line(*arguments)}", err=True)
    command = [sys.executable, "-m", "handful", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own command
    if done.returncode not in ((0, 1) if allow_problems else (0,)):
        raise HandfulError(f"`handful {arguments[0]}` ended with exit status {done.returncode}.")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def serve_demo(folder: Path) -> int:
    """Serves until it is stopped; prints a curl command to paste, and its answer, once the server is ready."""
    port = PORT if _is_free(PORT) else _free_port()
    arguments = ["serve", "--model", NAME, "--port", str(port)]
    click.echo(f"\n$ {command_line(*arguments)}", err=True)
    with subprocess.Popen([sys.executable, "-m", "handful", *arguments]) as server:  # noqa: S603 - our own command
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        try:
            _show_call(folder, port, server)
            return server.wait()
        except KeyboardInterrupt:  # the server received it too, and finishes its requests
            server.wait()
            return 0


def _show_call(folder: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    while not _ready(port):
        if server.poll() is not None:
            return
        time.sleep(0.1)
    photo = min(path for path in photos_of(folder).rglob("*.jpg"))
    call = f"curl -F image=@{shlex.quote(str(photo))} http://{HOST}:{port}/predict"
    body, headers = photo.read_bytes(), {"Content-Type": "image/jpeg"}
    click.echo(f"$ {call}", err=True)
    click.echo(_ask(port, "POST", "/predict", body, headers)[1], err=True)
    click.echo("Ctrl-C ends the service.", err=True)


def _ready(port: int) -> bool:
    try:
        return _ask(port, "GET", "/readyz")[0] == http.client.OK
    except OSError:
        return False


def _ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
