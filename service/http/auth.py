"""The outermost layer of every call: it checks who may call, counts requests and gives every error the same form."""

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
    HeadTooLarge,
    HeadTooSlow,
    InternalError,
    KeyWrong,
    LoopbackOnly,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RequestBroken,
    RequestError,
)
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.schemas import error_body
from handful.service.settings import Settings
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)
OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/"})  # probes, and the page, which holds no data itself
STORING_PATHS = ("/retrain", "/feedback")  # and all below them: they store what they are sent
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def needs_key(path: str) -> bool:
    """Whether a path is answered only with the key, or from this machine where no key is set."""
    return path not in OPEN_PATHS


def common_errors(method: str, path: str) -> tuple[type[RequestError], ...]:
    """The errors that a call can meet outside its own handler."""
    of_connection = (RequestBroken, HeadTooSlow, HeadTooLarge, Overloaded)
    errors: tuple[type[RequestError], ...] = (*of_connection, KeyWrong, LoopbackOnly, MethodNotAllowed, InternalError)
    return (*errors, CrossSite) if _changes(method, path) else errors


class AuthMiddleware:
    """ASGI middleware around the routes. The key is compared in constant time."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: ServiceMetrics, paths: frozenset[str]) -> None:
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
            self._check_caller(scope)
            await self.app(scope, receive, counted)
        except Exception as e:
            if status:
                raise  # the answer has begun: all that is left is to close the connection
            await self._answer(_request_error(e, scope))(scope, receive, counted)
        path = self._route_of(scope["path"])
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.request_seconds.labels(path).observe(time.perf_counter() - started)

    def _route_of(self, path: str) -> str:
        """The path of the route, for the metrics: a job's name must not become a series of its own."""
        route = path if path in self.paths else f"{path.rpartition('/')[0]}/{{job}}"
        return route if route in self.paths else "other"

    def _answer(self, error: RequestError) -> JSONResponse:
        self.metrics.errors.labels(error.code).inc()
        return JSONResponse(error_body(error.code, str(error)), error.status, error.headers)

    def _check_caller(self, scope: Scope) -> None:
        if not needs_key(scope["path"]):
            return
        if self.key is None:
            if not _is_loopback(scope):
                raise LoopbackOnly("Without HANDFUL_API_KEY this service answers only calls from its own machine.")
            check_page(scope["method"], scope["path"], Headers(scope=scope), self.origins)
            return
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip(" ").encode("latin-1"), self.key):
            raise KeyWrong("The key is missing or wrong; `Authorization: Bearer KEY` is expected.")


def _request_error(error: Exception, scope: Scope) -> RequestError:
    if isinstance(error, RequestError):
        return error
    if isinstance(error, HTTPException) and error.status_code == NotFound.status:
        return NotFound("There is no such path; /openapi.json lists all paths.")
    if isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status:
        allowed = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"The method is {scope['method']}; allowed: {allowed}.", allowed)
    logger.error("A request failed unexpectedly; this is a bug", exc_info=error)
    return InternalError("The service failed unexpectedly; its log says why.")


def _is_loopback(scope: Scope) -> bool:
    try:
        return ipaddress.ip_address(scope["client"][0]).is_loopback
    except (TypeError, ValueError):
        return False  # without an address the caller may be anybody


def check_page(method: str, path: str, headers: Headers, allowed: Collection[str]) -> None:
    """Keeps other sites' pages, open in a browser on this machine, away from the paths that store what they are sent.

    Raises `CrossSite` for a page whose origin is not allowed, and `LoopbackOnly` where the request names another
    host than this machine, which is how DNS rebinding shows.
    """
    if not path.startswith(STORING_PATHS):
        return
    host = headers.get("host")
    if host is not None and not _is_local(host):
        raise LoopbackOnly("Without HANDFUL_API_KEY this call is answered only as localhost or 127.0.0.1.")
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if not _changes(method, path) or origin in allowed or "*" in allowed:
        return
    if site in {"cross-site", "same-site"} or (site is None and origin is not None and not _same(origin, host)):
        raise CrossSite("Another site's page may not make this call; HANDFUL_CORS_ORIGINS lists those that may.")


def _changes(method: str, path: str) -> bool:
    return path.startswith(STORING_PATHS) and method not in SAFE_METHODS


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
    """Raises `UsageError` for an address that is invalid or in use, and without a key for any but loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError as e:
        raise UsageError(f"--host {host!r} is not an IP address; one like 127.0.0.1 is expected.") from e
    if not address.is_loopback and not has_key:
        raise UsageError(f"{host} can be reached from other machines: set HANDFUL_API_KEY, or use 127.0.0.1.")
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise UsageError(f"{host}:{port} cannot be listened on: {e.strerror}.") from e
