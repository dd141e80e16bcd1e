"""Tickets: who has the key may have a browser open one page, a report, to which it cannot send the key itself.

A ticket is a time and a signature of path and time by the key, in the address. It opens this one path for a minute, and
nothing else; no worker has to remember it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from urllib.parse import parse_qs

from handful.service.http.schemas import TicketBody
from starlette.requests import Request
from starlette.responses import Response

SECONDS = 60
PARAMETER = "ticket"
CALL = "/ticket"  # after the path of such a page
TICKET_SUMMARY = "What a browser that cannot send the key opens this page with, for a minute."
ENDING = "/report"  # of the paths that a ticket may open


class Tickets:
    """Signed with the first of the keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._secret = keys[0].encode() if keys else b""

    def ticket(self, path: str) -> str:
        """For the path as the service sees it, decoded."""
        return self._signed(path, int(time.time()) + SECONDS)

    def is_valid(self, path: str, query: bytes) -> bool:
        """Whether the query has a ticket for this path that is not over."""
        if not (self._secret and path.endswith(ENDING) and query.startswith(PARAMETER.encode())):
            return False
        given = parse_qs(query.decode("latin-1")).get(PARAMETER, [""])[0]
        until = given.partition(".")[0]
        if not (until.isascii() and until.isdecimal() and len(until) <= 12) or int(until) < time.time():
            return False
        return hmac.compare_digest(given.encode(), self._signed(path, int(until)).encode())

    def _signed(self, path: str, until: int) -> str:
        digest = hmac.new(self._secret, f"handful ticket\n{path}\n{until}".encode(), hashlib.sha256)
        return f"{until}.{digest.hexdigest()}"


def ticket_response(tickets: Tickets, request: Request) -> Response:
    """The answer to `POST PATH/ticket`."""
    body = TicketBody(ticket=tickets.ticket(request.scope["path"].removesuffix(CALL)))
    return Response(body.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})
