"""The outermost layer of every call: who may call, what is counted, and that every error has one form."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from handful.service.artifact.errors import UsageError
from handful.service.http.errors import (
    CrossSite,
    InternalError,
    KeyWrong,
    LoopbackOnly,
    MethodNotAllowed,
    NotFound,
    RequestError,
)
from handful.service.http.metrics import Metrics
from handful.service.http.schemas import error_body
from handful.service.settings import Settings
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)
PROBES = frozenset({"/livez", "/readyz", "/healthz"})
OPEN = PROBES | {"/"}  # the page holds nothing; what it calls is guarded
CHANGING = ("/retrain", "/feedback")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


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


def check_page(method: str, path: str, headers: Headers, allowed: Collection[str]) -> None:
    """Raises `CrossSite` for what another site's page sends, `LoopbackOnly` where this machine is called otherwise."""
    if not path.startswith(CHANGING):
        return
    host = headers.get("host")
    if host is not None and not _is_local(host):
        raise LoopbackOnly("Without HANDFUL_API_KEY this is answered only under the names localhost and 127.0.0.1.")
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if method in SAFE or origin in allowed or "*" in allowed:
        return
    if site in {"cross-site", "same-site"} or (site is None and origin is not None and not _same(origin, host)):
        raise CrossSite("A page of another site may not ask for this; HANDFUL_CORS_ORIGINS names those that may.")


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same(origin: str, host: str | None) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def check_address(host: str, port: int, *, has_key: bool) -> None:
    """Loopback unless there is a key; an address that is none, or is taken, is a `UsageError`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError as e:
        raise UsageError(f"--host {host!r} is no IP address; one like 127.0.0.1 is expected.") from e
    if not address.is_loopback and not has_key:
        raise UsageError(f"{host} can be reached from other machines: set HANDFUL_API_KEY, or take 127.0.0.1.")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise UsageError(f"{host}:{port} cannot be listened on: {e.strerror}.") from e
