"""Connections, bounded: in number, in the time that a client may keep one without using it, and in what is a request.

uvicorn closes a connection that is idle after an answer, and no other; it answers a broken request in a form of its
own, and its parser, h11, understands requests that a proxy in front may understand differently.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple

import h11
from handful.service.http.errors import HeadTooLarge, HeadTooSlow, Overloaded, RequestBroken, RequestError
from handful.service.http.schemas import error_body
from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD_BYTES = 16_384  # browsers and curl send about 500
RESERVED_FILES = 96  # of those that a worker may open: connections leave so many for everything else
ACCEPTED_AT_ONCE = 32
SWEEP_SECONDS = 0.5
WRITE_SECONDS = 30.0  # that a client may not read its answer
LINGER_SECONDS = 5.0  # that a client may go on sending what has been answered already, or leave bytes unread at the end
_UNCLEAR = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]|\0")  # a bare line feed or carriage return, or a folded header
_LENGTH = re.compile(rb"\ncontent-length:", re.IGNORECASE)


class ConnectionLimits(NamedTuple):
    """What `BoundedConnection` holds to; `report` is told of every error that is answered here."""

    head_seconds: float = 10.0
    connections: int = 1000
    report: Callable[[RequestError], object] = lambda _: None


class StrictParser(h11.Connection):
    """h11's parser of requests, without its leniency."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.chunked = False  # whether the request being read is
        self.problem: RequestError = RequestBroken("This is not a request of HTTP/1.1.")

    def next_event(self) -> Any:
        """Raises h11's `RemoteProtocolError`; `problem` then says what is wrong."""
        before = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as e:
            if e.error_status_hint == HeadTooLarge.status:
                self.problem = HeadTooLarge(f"The head of the request has more than {MAX_HEAD_BYTES} bytes.")
            raise
        if isinstance(event, h11.Request):
            self._check(event, before[: len(before) - len(self.trailing_data[0])])
        return event

    def _check(self, request: h11.Request, head: bytes) -> None:
        names = [name for name, _ in request.headers]
        self.chunked = b"transfer-encoding" in names
        if _UNCLEAR.search(head):
            self._refuse("A line of the head is folded, or does not end with CR and LF.")
        if self.chunked and b"content-length" in names:
            self._refuse("There is a Content-Length beside a Transfer-Encoding.")
        if len(_LENGTH.findall(head)) > 1:
            self._refuse("There is more than one Content-Length.")
        if request.http_version != b"1.1" and (request.http_version != b"1.0" or self.chunked):
            self._refuse("The HTTP version is neither 1.1 nor 1.0, or is 1.0 with a Transfer-Encoding.")

    def _refuse(self, message: str) -> None:
        self.problem = RequestBroken(message)
        raise h11.RemoteProtocolError(message)


class BoundedConnection(H11Protocol):
    """uvicorn's connection. What it waits for is looked at twice a second, which costs a request nothing."""

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    alive: ClassVar[set[BoundedConnection]] = set()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = self.parser = StrictParser()
        self.ws_protocol_class = None  # no call is a WebSocket's
        self._since = self._stage_since = self.loop.time()  # of the last answer, or the beginning; of the stage
        self._received = 0  # bytes since then
        self._answers = 0
        self._stage: tuple[object, ...] = ("head", 0)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.alive.add(self)
        if len(self.alive) > self.limits.connections and not self._make_room():
            self._answer(Overloaded(f"The service has {self.limits.connections} connections already."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self.parser.chunked and self.cycle and not self.cycle.response_started:
            # whatever another program takes for the end of the chunks, nothing after it is a request
            self.cycle.default_headers = [*self.server_state.default_headers, CLOSE_HEADER]

    def on_response_complete(self) -> None:
        self._since, self._received, self._answers = self.loop.time(), 0, self._answers + 1
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser says more
        self._answer(self.parser.problem)

    def _answer(self, error: RequestError) -> None:
        """Closes the connection, with an answer unless one has begun."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.limits.report(error)
            body = json.dumps(error_body(error.code, str(error))).encode()
            headers = {"Content-Type": "application/json", "Content-Length": len(body), **error.headers}
            lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
            lines += [f"{name}: {value}" for name, value in {**headers, "Connection": "close"}.items()]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()

    def _at(self) -> tuple[object, ...]:
        """What this connection waits for now. A stage that has not changed is one without progress."""
        if self.transport.is_closing():
            return ("close", self.transport.get_write_buffer_size())
        if self.flow.write_paused:
            return ("write", self.transport.get_write_buffer_size())
        if self.cycle is not None and not self.cycle.response_complete:
            return ("answer",)  # every call has its own limits
        if self.conn.their_state is h11.SEND_BODY:
            return ("rest", self._answers)
        if self.cycle is None or self.conn.trailing_data[0]:
            return ("head", self._answers)
        return ("idle",)  # uvicorn closes it

    def look(self, now: float) -> None:
        """Ends a connection that has been at one stage for too long."""
        stage = self._at()
        if stage != self._stage:
            self._stage, self._stage_since = stage, now
            return
        seconds = now - self._stage_since
        if stage[0] == "head" and seconds > self.limits.head_seconds:
            if self.conn.trailing_data[0]:
                self._answer(
                    HeadTooSlow(f"The head of the request has not arrived within {self.limits.head_seconds:g} seconds.")
                )
            self.transport.close()
        elif stage[0] == "rest" and seconds > LINGER_SECONDS:
            self.transport.close()
        elif (stage[0] == "write" and seconds > WRITE_SECONDS) or (stage[0] == "close" and seconds > LINGER_SECONDS):
            self.transport.abort()

    def _make_room(self) -> bool:
        """Closes connections that nobody uses, the longest silent first; else the one whose body comes slowest."""
        others = [each for each in self.alive if each is not self and not each.transport.is_closing()]
        unused = [each for each in others if each.cycle is None or each.cycle.response_complete]
        if unused:
            oldest = sorted(unused, key=lambda each: each._since)
            for each in oldest[: max(1, self.limits.connections // 20)]:  # several: it is seldom that one has to look
                each.transport.close()
            return True
        now = self.loop.time()
        sending = [(each._pace(now), id(each), each) for each in others if each.cycle.more_body]
        if not sending:
            return False
        min(sending)[2]._answer(Overloaded("The service needs the connection for a faster one."))
        return True

    def _pace(self, now: float) -> float:
        """Bytes per second since the last answer."""
        return self._received / max(1.0, now - self._since)


def bound_connections() -> None:
    """Has uvicorn use `BoundedConnection`, which BentoML cannot tell it."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedConnection.__name__}"


def set_limits(head_seconds: float, connections: int, report: Callable[[RequestError], object]) -> None:
    """Called in the worker, which may not have more connections than it may open files."""
    if sys.platform != "win32":
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            connections = min(connections, max(10, files - RESERVED_FILES))
    BoundedConnection.limits = ConnectionLimits(head_seconds, connections, report)


def accept_few_at_once(loop: asyncio.AbstractEventLoop) -> None:
    """Has asyncio look at what it has accepted before it accepts more: else a burst takes all files that may be open.

    uvicorn's one number is both that of connections accepted at once and the length of the system's queue.
    """
    create = loop.create_server

    async def create_server(*args: Any, backlog: int = 2048, **options: Any) -> asyncio.Server:
        server = await create(*args, backlog=min(backlog, ACCEPTED_AT_ONCE), **options)
        if isinstance(listening := options.get("sock"), socket.socket):
            listening.listen(backlog)  # the queue stays as long as it was
        return server

    with suppress(AttributeError):  # another kind of loop may not let itself be changed
        loop.create_server = create_server  # type: ignore[method-assign]


async def watch_connections() -> None:
    """Runs until it is cancelled."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        now = asyncio.get_running_loop().time()
        for each in [*BoundedConnection.alive]:
            with suppress(OSError):
                each.look(now)
