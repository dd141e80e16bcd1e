"""What attacks the service in the soak: each function does one attack, and is run again and again in a process.

They stay below a rate at which two cores would do nothing but answer attackers: what is measured is whether one small
input buys much work, not who has more machines.
"""

from __future__ import annotations

import http.client
import io
import multiprocessing
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event

from PIL import Image

SILENT = 40  # connections that are held open and send nothing
SLOW = 20  # connections whose head arrives byte by byte
Attack = Callable[[int, bytes, random.Random], None]


def mutated(port: int, jpeg: bytes, chance: random.Random) -> None:
    """A photo with a few bytes changed."""
    body = bytearray(jpeg)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(body))
        body[at : at + chance.choice([0, 1, 4])] = chance.randbytes(chance.choice([0, 1, 4]))
    _post(port, bytes(body), _key())
    time.sleep(0.2)


def bombs(port: int, _: bytes, chance: random.Random) -> None:
    """A small file with very many pixels."""
    file = io.BytesIO()
    side = chance.choice([4_000, 12_000, 30_000])
    Image.new("1", (side, side // 3)).save(file, "PNG")
    _post(port, file.getvalue(), _key())
    time.sleep(1)


def heads(port: int, _: bytes, chance: random.Random) -> None:
    """Parameters of headers that a quadratic parser reads for seconds."""
    fill = chance.choice([";", '"', "\\", " ", "; a=b", "="])
    _post(port, b"x", _key(), 'multipart/form-data; boundary=b; a="' + fill * 30_000)
    part = b'--b\r\nContent-Disposition: form-data; name="image"; x="' + fill.encode() * 1500 + b"\r\n\r\nx\r\n"
    _post(port, part * 64 + b"--b--", _key(), "multipart/form-data; boundary=b", "/predict_many")
    time.sleep(0.5)


def slow_heads(port: int, _: bytes, __: random.Random) -> None:
    """Requests that never end."""
    with _connections(port, SLOW) as lines:
        for line in lines:
            with suppress(OSError):
                line.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX: ")
        for _second in range(30):
            time.sleep(1)
            for line in lines:
                with suppress(OSError):
                    line.sendall(b"x")


def silent(port: int, _: bytes, __: random.Random) -> None:
    """Connections on which nothing is sent."""
    with _connections(port, SILENT):
        time.sleep(30)


def wrong_keys(port: int, jpeg: bytes, chance: random.Random) -> None:
    """Guesses, every tenth with a photo."""
    _post(port, jpeg if chance.random() < 0.1 else b"", f"guess-{chance.random()}")
    time.sleep(0.01)


def endless(port: int, _: bytes, __: random.Random) -> None:
    """A body without end, and without the key."""
    with _connections(port, 1) as lines, suppress(OSError):
        for line in lines:
            line.sendall(b"POST /retrain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _piece in range(100):
                line.sendall(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
    time.sleep(2)


ATTACKS: tuple[Attack, ...] = (mutated, bombs, heads, slow_heads, silent, wrong_keys, endless)
_KEYS: list[str] = []


def _key() -> str:
    return _KEYS[0]


@contextmanager
def attacking(port: int, jpeg: bytes, key: str) -> Iterator[None]:
    """All attacks run, each in a process of its own, until the block ends."""
    ended = multiprocessing.Event()
    processes = [
        multiprocessing.Process(target=_repeat, args=(attack, port, jpeg, key, ended), daemon=True)
        for attack in ATTACKS
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        ended.set()
        for process in processes:
            process.terminate()
            process.join()


def _repeat(attack: Attack, port: int, jpeg: bytes, key: str, ended: Event) -> None:
    _KEYS[:] = [key]
    chance = random.Random(attack.__name__)  # noqa: S311 - random bytes, no secret
    while not ended.is_set():
        try:
            attack(port, jpeg, chance)
        except OSError:
            time.sleep(0.1)  # a worker was killed, or the service refuses more


def _post(port: int, body: bytes, key: str, content_type: str = "image/jpeg", path: str = "/predict") -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with suppress(OSError, http.client.HTTPException):
        headers = {"Content-Type": content_type, "Authorization": f"Bearer {key}"}
        connection.request("POST", path, body, headers)
        connection.getresponse().read()
    connection.close()


@contextmanager
def _connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    lines = []
    try:
        for _ in range(count):
            with suppress(OSError):
                lines.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        yield lines
    finally:
        for line in lines:
            line.close()
