"""The outermost layer of every call: it checks who may call, counts requests and gives every error the same form."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from handful.service.artifact.errors import ImageError
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
    ParameterWrong,
    RequestBroken,
    RequestError,
    TooManyWrongKeys,
    status_of,
)
from handful.service.http.exchange import Exchange
from handful.service.http.filenames import quoted
from handful.service.http.keys import Access, Keys
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.model_errors import MayNotChange
from handful.service.http.schemas import error_body
from handful.service.http.tickets import Tickets
from handful.service.page.files import PAGE_PATHS, PAGE_ROUTES
from handful.service.settings import Settings
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)
LIVENESS_PATHS = frozenset({"/livez", "/healthz"})
ACCESS_PATH = "/access"
OPEN_PATHS = PAGE_PATHS | LIVENESS_PATHS | {"/readyz", ACCESS_PATH}  # answered without the key, to other machines too
ACCESS = "handful.access"  # in the scope of a request: what its caller may do
ASKED_BY_POST = frozenset(
    {
        "/predict",
        "/predict_many",
        "/thumbnail",
        *(f"/models/{{name}}/{call}" for call in ("predict", "predict_many", "explain")),
        *(f"{prefix}/label-studio/{call}" for prefix in ("", "/models/{name}") for call in ("predict", "setup")),
    }
)
_NOT_FOR_ASKING = re.compile(r"/(?:photos|pool|corrections|thumbnails|findings|report|file)(?:/|$)")
_LABEL_STUDIO = re.compile(r"/label-studio/[a-z]+$")  # which sends a key as the password of basic authentication
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_QUERY_BYTES = 4096  # the longest label, percent-encoded, has 1200
MAX_HOST = 260  # characters: the longest name has 253


def needs_key(path: str) -> bool:
    """Whether a path is answered only with the key, or from this machine where no key is set."""
    return path not in OPEN_PATHS


def only_asks(method: str, route: str) -> bool:
    """Whether a call changes nothing, shows no photos and gives no model away, so that a key for asking is enough."""
    if method in SAFE_METHODS:
        return not _NOT_FOR_ASKING.search(route)
    return route in ASKED_BY_POST


def common_errors(method: str, path: str) -> tuple[type[RequestError], ...]:
    """The errors that a call can meet outside its own handler."""
    of_connection = (RequestBroken, HeadTooSlow, HeadTooLarge, Overloaded)
    errors: tuple[type[RequestError], ...] = (*of_connection, MethodNotAllowed, ParameterWrong, InternalError)
    if path not in PAGE_ROUTES | LIVENESS_PATHS:
        errors = (*errors, LoopbackOnly)
    if path not in PAGE_ROUTES and needs_key(path):
        errors = (*errors, KeyWrong, TooManyWrongKeys)
        errors = errors if only_asks(method, path) else (*errors, MayNotChange)
    return errors if method in SAFE_METHODS else (*errors, CrossSite)


class AuthMiddleware:
    """ASGI middleware around the routes. `methods` are those of each path; a part of a path in braces varies."""

    def __init__(
        self, app: ASGIApp, settings: Settings, metrics: ServiceMetrics, methods: Mapping[str, Collection[str]]
    ) -> None:
        self.app, self.metrics, self.methods = app, metrics, methods
        self.origins = settings.cors_origins
        self.tickets = Tickets(settings.api_keys)
        self.keys = Keys(settings.api_keys, settings.predict_keys) if settings.api_keys else None
        self._patterns = {path: compile_path(path)[0] for path in methods if "{" in path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        scope = {**scope, "path": self._without_last_slash(scope["path"])}
        exchange = Exchange(scope, receive, send)
        try:
            scope[ACCESS] = await self._check_caller(scope)
            await self.app(scope, exchange.receive, exchange.send)
        except Exception as e:
            if exchange.status:
                raise  # the answer has begun: all that is left is to close the connection
            error = e if isinstance(e, ImageError) else self._request_error(e, scope)
            if isinstance(error, TooManyWrongKeys):
                exchange.dropped_bytes = 0
            await self._answer(error)(scope, exchange.receive, exchange.send)
        path = self.route_of(scope["path"])
        self.metrics.requests.labels(path, str(exchange.status)).inc()
        self.metrics.request_seconds.labels(path).observe(time.perf_counter() - started)

    def route_of(self, path: str) -> str:
        """The path of the route, for the metrics: a job's name must not become a series of its own."""
        if path in self.methods:
            return path
        return next((route for route, pattern in self._patterns.items() if pattern.match(path)), "other")

    def _without_last_slash(self, path: str) -> str:
        """`/predict/` means `/predict`. A page stays where it is: the addresses in it are relative to its own."""
        plain = path.removesuffix("/")
        return plain if plain not in PAGE_PATHS and self.route_of(plain) != "other" else path

    def _answer(self, error: RequestError | ImageError) -> JSONResponse:
        self.metrics.errors.labels(error.code).inc()
        headers = error.headers if isinstance(error, RequestError) else None
        return JSONResponse(error_body(error.code, str(error)), status_of(type(error)), headers)

    async def _check_caller(self, scope: Scope) -> Access | None:
        """What the caller may do; None: only what everybody may. Raises the errors of callers."""
        query_bytes = len(scope.get("query_string", b""))
        if query_bytes > MAX_QUERY_BYTES:
            raise ParameterWrong(f"The query has {query_bytes} bytes; at most {MAX_QUERY_BYTES} are allowed.")
        method, path, headers = scope["method"], scope["path"], Headers(scope=scope)
        address = scope["client"][0] if scope.get("client") else ""
        if self.keys is None:
            if needs_key(path) and not _is_loopback(address):
                raise LoopbackOnly("Without HANDFUL_API_KEY this service answers only calls from its own machine.")
            check_page(method, path, headers, self.origins)
            return "change" if _is_loopback(address) else None
        if path == ACCESS_PATH:
            return await self._access(headers, address)
        if not needs_key(path):
            return None
        if method in SAFE_METHODS and self.tickets.is_valid(path, scope.get("query_string", b"")):
            return "change"  # to this one page, for a minute
        access = await self.keys.check(headers, address, basic=bool(_LABEL_STUDIO.search(path)))
        if access == "ask" and not only_asks(method, self.route_of(path)):
            raise MayNotChange("This key may ask; changing anything and seeing photos need HANDFUL_API_KEY.")
        return access

    async def _access(self, headers: Headers, address: str) -> Access | None:
        """For who asks what its key allows; guessing is slowed as everywhere."""
        if self.keys is None or "authorization" not in headers:
            return None
        try:
            return await self.keys.check(headers, address)
        except KeyWrong:
            return None

    def _request_error(self, error: Exception, scope: Scope) -> RequestError:
        if isinstance(error, RequestError):
            return error
        if isinstance(error, HTTPException) and error.status_code == NotFound.status:
            return NotFound("There is no such path; /docs lists all paths.")
        if isinstance(error, HTTPException) and error.status_code == MethodNotAllowed.status:
            allowed = ", ".join(sorted(self.methods.get(self.route_of(scope["path"]), ())))
            return MethodNotAllowed(f"The method is {quoted(scope['method'])}; {allowed} are allowed here.", allowed)
        logger.error("A request failed unexpectedly; this is a bug", exc_info=error)
        return InternalError("The service failed unexpectedly; its log says why.")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False  # without an address the caller may be anybody


def check_page(method: str, path: str, headers: Headers, allowed: Collection[str]) -> None:
    """Keeps other sites' pages, open in a browser on this machine, away from all that tells or changes something.

    Raises `LoopbackOnly` where the request names another host than this machine, which is how DNS rebinding shows, and
    `CrossSite` for a page whose origin is not allowed and that sends something: a browser keeps the answer from it, but
    the work would be done.
    """
    host = headers.get("host")
    if path not in PAGE_PATHS | LIVENESS_PATHS and host is not None and not _is_local(host):
        raise LoopbackOnly(
            f"The Host is {quoted(host)}; without HANDFUL_API_KEY only localhost and 127.0.0.1 are allowed."
        )
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if method in SAFE_METHODS or origin in allowed or "*" in allowed:
        return
    if site in {"cross-site", "same-site"} or (site is None and origin is not None and not _same(origin, host)):
        raise CrossSite("Another site's page may not make this call; HANDFUL_CORS_ORIGINS lists those that may.")


def _is_local(host: str) -> bool:
    if len(host) > MAX_HOST:
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same(origin: str, host: str | None) -> bool:
    if len(origin) > MAX_HOST:
        return False
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False
