"""The one deadline of each call. It ends what has no limit of its own, or exceeds it; the caller is answered as usual.

BentoML's own, one for all calls, would cut an upload that may take ten minutes, in another form.
"""

from __future__ import annotations

import asyncio
import re

from handful.service.http.errors import Overloaded
from handful.service.settings import Settings
from starlette.types import ASGIApp, Receive, Scope, Send

_UPLOADS = re.compile("/retrain|/models/[^/]+/(?:retrain|evaluate|photos)")  # may take minutes to arrive
_EVENTS = re.compile("/jobs/[^/]+/events")
MARGIN_SECONDS = 5.0  # so that a limit inside the call, whose error says more, ends it first


class Deadline:
    """ASGI middleware around the routes, inside of what answers errors. Raises `Overloaded`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.seconds = settings.body_seconds + settings.answer_seconds + MARGIN_SECONDS
        self.upload_seconds = 2 * settings.upload_seconds + MARGIN_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET" and _EVENTS.fullmatch(scope["path"]):
            await self.app(scope, receive, send)  # it lasts as long as its job
            return
        uploads = scope["method"] == "POST" and _UPLOADS.fullmatch(scope["path"])
        seconds = self.upload_seconds if uploads else self.seconds
        try:
            async with asyncio.timeout(seconds) as deadline:
                await self.app(scope, receive, send)
        except TimeoutError as e:
            if not deadline.expired():
                raise
            raise Overloaded(f"No answer within {seconds:g} seconds; the service is full.") from e
