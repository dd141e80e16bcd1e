"""A stand-in for Label Studio that hands out photos, and notes who asked for what."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

PERSONAL, ACCESS = "personal.access.token", "exchanged"


@dataclass
class Studio:
    """`files` by path, each with its status and headers; `asked` are the paths and tokens of requests."""

    port: int = 0
    files: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def studio_stand_in() -> Iterator[Studio]:
    stand_in = Studio()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stand_in.asked.append((self.path, self.headers.get("authorization", "")))
            self._answer(*stand_in.files.get(self.path, (404, {}, b"")))

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
            right = self.path == "/api/token/refresh" and sent == {"refresh": PERSONAL}
            self._answer(200 if right else 401, {}, json.dumps({"access": ACCESS}).encode())

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield stand_in
    server.shutdown()
    server.server_close()
