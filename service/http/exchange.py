"""One request's body and answer: headers that every answer carries, and what happens to a body that nobody reads.

Without this, the server would read the rest of a refused body to its end, however long it is. Here the answer is sent
first and announces that the connection will be closed; then a bounded part of the body is dropped, so that a client
that reads only after sending finds the answer instead of a reset connection.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

DROPPED_BYTES = 32_000_000  # of a body that nobody reads: more than one photo may have
DROPPED_SECONDS = 5.0
EVERY_ANSWER = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",  # predictions, labels and jobs are personal
}


class Exchange:
    """Wraps `receive` and `send` of one request. An answer's own headers take precedence."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.status = 0  # of the answer, once it has begun
        self.dropped_bytes = DROPPED_BYTES
        self._scope, self._receive, self._send = scope, receive, send
        self._body_ended = self._received = False
        self._closing = False  # the answer announces the end of the connection, because of an unread body

    async def receive(self) -> Message:
        message = await self._receive()
        self._received = True
        self._body_ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._headers(list(message.get("headers", ())))}
        elif self._closing and message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._drop_rest()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    def _headers(self, own: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name.lower() for name, _ in own}
        own += [header for header in EVERY_ANSWER.items() if header[0] not in names]
        if not self._body_ended and _has_body(Headers(scope=self._scope)):
            self._closing = True
            if b"connection" not in names:
                own.append((b"connection", b"close"))
        return own

    async def _drop_rest(self) -> None:
        if not self._received and "expect" in Headers(scope=self._scope):
            return  # the client waits for `100 Continue` and has sent nothing
        dropped = 0
        try:
            async with asyncio.timeout(DROPPED_SECONDS):
                while not self._body_ended and dropped < self.dropped_bytes:
                    dropped += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""
