"""The outermost layer of every call: who may call, what is counted, and that every error has one form."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InternalError, KeyWrong, LoopbackOnly, MethodNotAllowed, NotFound, RequestError
from service.metrics import Metrics
from service.origins import check_page
from service.schemas import error_body
from service.settings import Settings

logger = logging.getLogger(__name__)
PROBES = frozenset({"/livez", "/readyz", "/healthz"})
OPEN = PROBES | {"/"}  # the page holds nothing; what it calls is guarded


class Guard:
    """Plain ASGI around the routes; the key is compared in constant time."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, paths: frozenset[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, paths
        self.origins = settings.cors_origins
        self.key = settings.api_key.get_secret_value().encode() if settings.api_key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._admit(scope)
            await self.app(scope, receive, counted)
        except Exception as e:
            if status:
                raise  # it has begun already: all that is left is to cut the connection
            await self._answer(_translated(e, scope))(scope, receive, counted)
        path = self._series(scope["path"])
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.request_seconds.labels(path).observe(time.perf_counter() - started)

    def _series(self, path: str) -> str:
        """The route that a path belongs to; a job's name makes no series of its own."""
        route = path if path in self.paths else f"{path.rpartition('/')[0]}/{{job}}"
        return route if route in self.paths else "other"

    def _answer(self, error: RequestError) -> JSONResponse:
        self.metrics.errors.labels(error.code).inc()
        return JSONResponse(error_body(error.code, str(error)), error.status, error.headers)

    def _admit(self, scope: Scope) -> None:
        if scope["path"] in OPEN:
            return
        if self.key is None:
            if not _is_loopback(scope):
                raise LoopbackOnly("Without HANDFUL_API_KEY this service answers only to its own machine.")
            check_page(scope["method"], scope["path"], Headers(scope=scope), self.origins)
            return
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip(" ").encode("latin-1"), self.key):
            raise KeyWrong("The key is missing or wrong; `Authorization: Bearer KEY` is expected.")


def _translated(error: Exception, scope: Scope) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, HTTPException) and error.status_code == NotFound.status:
        return NotFound("There is no such path; /openapi.json lists them all.")
    if isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status:
        allowed = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"The method is {scope['method']}; allowed: {allowed}.", allowed)
    logger.error("A request failed; this is a bug", exc_info=error)
    return InternalError("An unexpected error; the service's log has it.")


def _is_loopback(scope: Scope) -> bool:
    try:
        return ipaddress.ip_address(scope["client"][0]).is_loopback
    except (TypeError, ValueError):
        return False  # no address: not known to be ours
