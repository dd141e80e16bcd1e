"""Spans of requests for OpenTelemetry, where the environment asks for them; where it does not, nothing is imported.

BentoML has a middleware for spans of its own, which `app.py` puts aside with the rest, and which would store whole
addresses, tickets of reports among them. Here a span is named by the route, and holds nothing that a client sends.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)
EXPORTER = "opentelemetry-exporter-otlp-proto-http"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
NOT_TRACED = {"/livez", "/healthz", "/readyz", "/metrics"}  # asked for every few seconds
CLOSE_SECONDS = 2.0  # for the last spans, once the service ends


class Tracing:
    """One per worker; without a provider every call does nothing."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer("handful") if provider else None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Tracing:
        """On if an address for spans is set, or OTEL_TRACES_EXPORTER is `otlp`. What is wrong with them is logged."""
        if not _is_asked_for(environ):
            return cls()
        if problem := _problem(environ):
            logger.warning("There will be no spans: %s", problem)
            return cls()
        try:
            return cls(_provider())
        except ModuleNotFoundError as e:
            sdk = version("opentelemetry-sdk")  # another exporter's would not go with BentoML's other parts
            logger.warning("There will be no spans: they need `pip install %s==%s` (%s).", EXPORTER, sdk, e)
            return cls()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """What the block does, as a part of the request that it runs for. Its error is named by its code."""
        if self.tracer is None:
            yield
            return
        with self.tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield
            except Exception as e:
                span.set_attribute("error.type", str(getattr(e, "code", type(e).__name__)))
                span.set_status(_failed())
                raise

    def record(self, name: str, started_ns: int, ended_ns: int, **attributes: str | int) -> None:
        """A part of the current request that ran elsewhere, between two readings of `time.time_ns`."""
        if self.tracer is not None:
            named = {f"handful.{key}": value for key, value in attributes.items()}
            self.tracer.start_span(name, start_time=started_ns, attributes=named).end(ended_ns)

    def close(self) -> None:
        """Sends what is left; a collector that does not answer holds nobody up for long."""
        if self._provider is not None:
            sending = threading.Thread(target=self._provider.shutdown, daemon=True)
            sending.start()
            sending.join(CLOSE_SECONDS)


class TracingMiddleware:
    """A span per request, below that of the caller where the request has a `traceparent`."""

    def __init__(self, app: ASGIApp, tracer: Any, route_of: Callable[[str], str]) -> None:
        self.app, self.tracer, self.route_of = app, tracer, route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.route_of(scope["path"])
        if route in NOT_TRACED:
            await self.app(scope, receive, send)
            return
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        with self.tracer.start_as_current_span(
            f"{method} {route}",
            context=propagate.extract(dict(Headers(scope=scope))),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": route},
            record_exception=False,  # its text may tell of photos and paths
        ) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(_failed())
                await send(message)

            await self.app(scope, receive, noting)


def _is_asked_for(environ: Mapping[str, str]) -> bool:
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return bool(exporter or any(environ.get(name) for name in ENDPOINTS))


def _problem(environ: Mapping[str, str]) -> str | None:
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in {"", "otlp"}:
        return f"OTEL_TRACES_EXPORTER is {exporter[:40]!r}; otlp or none is allowed."
    name = next((name for name in PROTOCOLS if environ.get(name)), PROTOCOLS[1])
    protocol = environ.get(name, PROTOCOL).strip()
    return None if protocol in {"", PROTOCOL} else f"{name} is {protocol[:40]!r}; {PROTOCOL} is allowed."


def _provider() -> TracerProvider:
    """The sampler, limits, headers, names and addresses are those of OpenTelemetry's own variables."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or "handful"})
    provider = TracerProvider(resource=named, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _failed() -> Any:
    from opentelemetry.trace import Status, StatusCode

    return Status(StatusCode.ERROR)
