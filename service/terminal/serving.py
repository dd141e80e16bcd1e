"""What `serve` says: its address at once, and how to call it as soon as it answers."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import threading
import time
import webbrowser
from pathlib import Path

import click
from handful.service.artifact.errors import UsageError

POLL_SECONDS = 0.2
BENTOML_FOLDERS = ("bentos", "models", "envs", "tmp")


def starting_words(host: str, port: int, models: Path | None, follow: str | None = None) -> str:
    """`models` is the folder in which there is no model yet; None where there is one. It may come from an address."""
    words = f"Starting the service on {address(host, port)}/"
    if follow:
        return f"{words} ...\nIt answers with the champion (the version in use) at {follow}."
    if models is None:
        return f"{words} ..."
    if not can_be_made(models):
        return (
            f"{words}\nThere is no model in {models}, and this user may not write there: set HANDFUL_HOME to the folder"
            " that has the models, or to one that may be written."
        )
    return (
        f"{words}\nThere is no model yet: make one on that page, or by `handful train FOLDER`; it is served as soon"
        " as it is there."
    )


def can_be_made(folder: Path) -> bool:
    """Whether this user may make the folder, or write in it."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    return existing.is_dir() and os.access(existing, os.W_OK)


def check_bentoml_home() -> None:
    """Makes the folders that BentoML makes when it is imported; raises `UsageError` where they cannot be made."""
    folder = Path(os.environ.get("BENTOML_HOME") or Path(os.path.expanduser("~")) / "bentoml")  # noqa: PTH111 - as there
    try:
        for name in BENTOML_FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UsageError(
            f"BentoML, which runs the service, cannot make its folder {folder} ({e.strerror}): set BENTOML_HOME to a"
            " folder that this user may write. HANDFUL_HOME says where the models are."
        ) from e


def announce(host: str, port: int, *, has_key: bool) -> None:
    """Says, from a thread, what is served and how to ask it, once it answers."""
    threading.Thread(target=_announce, args=(host, port, has_key), name="announce", daemon=True).start()


def open_page(host: str, port: int, place: str = "") -> None:
    """Opens the page, or the screen at `#...`, in a browser, from a thread, once it is there."""
    threading.Thread(target=_open_page, args=(host, port, place), name="browser", daemon=True).start()


def _open_page(host: str, port: int, place: str) -> None:
    while _answer(host, port, "/livez") is None:
        time.sleep(POLL_SECONDS)
    url = f"{address(host, port)}/{place}"
    if not webbrowser.open(url):
        click.echo(f"No browser could be opened; open {url} in one. Ctrl-C ends the service.", err=True)


def _announce(host: str, port: int, has_key: bool) -> None:  # noqa: FBT001 - of a thread
    while (model := _answer(host, port, "/readyz")) is None:
        time.sleep(POLL_SECONDS)
    url = address(host, port)
    key = ' -H "Authorization: Bearer $HANDFUL_API_KEY"' if has_key else ""
    click.echo(
        f"{model} answers at {url}/ (a page to try it; Ctrl-C ends the service). From a terminal:\n"
        f"    curl{key} -F image=@photo.jpg {url}/predict",
        err=True,
    )


def address(host: str, port: int) -> str:
    """Where a browser on this machine finds it; an address that means all of them is loopback there."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - only compared
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def _answer(host: str, port: int, path: str) -> str | None:
    """The text of a successful answer, of /readyz NAME:VERSION of the default model; None while there is none."""
    here = address(host, port).removeprefix("http://").rpartition(":")[0].strip("[]")
    connection = http.client.HTTPConnection(here, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read().decode().strip() if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def check_address(host: str, port: int, *, has_key: bool) -> None:
    """Raises `UsageError` for an address that is invalid or in use, and without a key for any but loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError as e:
        raise UsageError(f"The host {host!r} is not an IP address; one like 127.0.0.1 is expected.") from e
    if not address.is_loopback and not has_key:
        raise UsageError(f"{host} can be reached from other machines: set HANDFUL_API_KEY, or use 127.0.0.1.")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise UsageError(f"{host}:{port} cannot be listened on: {e.strerror}.") from e
