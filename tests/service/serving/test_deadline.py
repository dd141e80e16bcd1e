"""Each call has one deadline, and the one who sends a zip has more time."""

from __future__ import annotations

import asyncio

import pytest
from handful.service.http.errors import Overloaded
from handful.service.serving.deadline import Deadline
from handful.service.settings import Settings
from starlette.types import Message, Receive, Scope, Send

SETTINGS = Settings(body_seconds=0.01, answer_seconds=0.01, upload_seconds=60)


def call(deadline: Deadline, method: str, path: str) -> None:
    async def nothing(_: Message | None = None) -> Message:
        return {}

    asyncio.run(deadline({"type": "http", "method": method, "path": path}, nothing, nothing))  # type: ignore[arg-type]


def calling(seconds: float) -> Deadline:
    async def app(_: Scope, __: Receive, ___: Send) -> None:
        await asyncio.sleep(seconds)

    deadline = Deadline(app, SETTINGS)
    deadline.seconds -= 5  # the margin
    return deadline


@pytest.mark.parametrize(("method", "path"), [("GET", "/retrain"), ("POST", "/predict"), ("DELETE", "/retrain/x")])
def test_a_call_without_end_is_ended_as_overloaded(method: str, path: str) -> None:
    with pytest.raises(Overloaded, match="No answer within"):
        call(calling(seconds=60), method, path)


def test_an_upload_has_more_time_and_a_quick_call_is_left_alone() -> None:
    call(calling(seconds=0.1), "POST", "/retrain")
    call(calling(seconds=0), "GET", "/livez")


def test_a_limit_inside_the_call_keeps_its_own_error() -> None:
    async def app(_: Scope, __: Receive, ___: Send) -> None:
        raise TimeoutError("of the call itself")

    with pytest.raises(TimeoutError, match="of the call itself"):
        call(Deadline(app, SETTINGS), "GET", "/livez")
