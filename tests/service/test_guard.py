"""Who is let in without a key: this machine, and nobody else."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from service.guard import Guard
from service.metrics import Metrics
from service.settings import Settings


def status(client: tuple[str, int] | None, path: str = "/model") -> int:
    """What a caller at this address gets, where the routes would let everybody in."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    guard = Guard(PlainTextResponse("in"), Settings(), Metrics(), frozenset({"/model"}))
    scope: dict[str, object] = {"type": "http", "method": "GET", "path": path, "headers": [], "client": client}
    asyncio.run(guard(scope, receive, send))
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
