"""Who is let in without a key: this machine, and nobody else."""

from __future__ import annotations

import asyncio

import pytest
from handful.service.http.auth import AuthMiddleware
from handful.service.http.metrics import ServiceMetrics
from handful.service.settings import Settings
from starlette.responses import PlainTextResponse
from starlette.types import Message


def status(
    client: tuple[str, int] | None, path: str = "/model", method: str = "GET", headers: dict[str, str] | None = None
) -> int:
    """What a caller at this address gets, where the routes would let everybody in."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    settings = Settings(cors_origins=("https://friend.example",))
    middleware = AuthMiddleware(PlainTextResponse("in"), settings, ServiceMetrics(), {"/model": {"GET", "HEAD"}})
    lines = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope: dict[str, object] = {"type": "http", "method": method, "path": path, "headers": lines, "client": client}
    asyncio.run(middleware(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_is_let_in_without_a_key(address: str) -> None:
    assert status((address, 1)) == 200


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.7", "::", "fe80::1", "localhost.evil.example", ""])
def test_other_machines_are_not_let_in_without_a_key(address: str) -> None:
    assert status((address, 1)) == 403
    assert status((address, 1), "/livez") == 200


def test_a_caller_without_an_address_is_not_let_in_without_a_key() -> None:
    assert status(None) == 403


CHANGING = ("POST", "/retrain"), ("DELETE", "/retrain/x"), ("POST", "/feedback")


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:3000", "origin": "https://evil.example"},
        {"host": "localhost:3000", "origin": "http://localhost:8888"},
        {"host": "localhost:3000", "origin": "null"},
        {"host": "localhost:3000", "origin": "http://["},
        {"host": "127.0.0.1", "sec-fetch-site": "cross-site"},
        {"host": "127.0.0.1", "sec-fetch-site": "same-site", "origin": "http://127.0.0.1:8888"},
        {"host": "rebound.example:3000", "sec-fetch-site": "same-origin", "origin": "http://rebound.example:3000"},
        {"host": "10.0.0.1"},
        {"host": "localhost.evil.example"},
        {"host": "["},
        {"host": ""},
    ],
)
def test_a_browser_is_not_made_to_change_something_by_another_sites_page(
    method: str, path: str, headers: dict[str, str]
) -> None:
    assert status(("127.0.0.1", 1), path, method, headers) == 403


@pytest.mark.parametrize(("method", "path"), CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:3000"},
        {"host": "[::1]:3000", "origin": "http://[::1]:3000"},
        {"host": "127.0.0.1:3000", "origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-origin"},
        {"host": "127.0.0.1:3000", "sec-fetch-site": "none"},
        {"host": "127.0.0.1:3000", "origin": "https://friend.example", "sec-fetch-site": "cross-site"},
    ],
)
def test_our_own_page_programs_and_origins_that_are_set_may_change_something(
    method: str, path: str, headers: dict[str, str]
) -> None:
    assert status(("127.0.0.1", 1), path, method, headers) == 200
