"""Spans of requests: to a collector on loopback where `OTEL_...` asks for them, and nothing at all where not."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from handful.service.http.tracing import Tracing
from running_server import Server, encoded, free_port, publish_copy, running, until

sent = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    reason="These tests need opentelemetry-exporter-otlp-proto-http.",
)
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
JPEG = {"Content-Type": "image/jpeg"}
IMPORTED = """
import sys
from handful.service.api import Api
from handful.service.settings import Settings
Api(Settings())
print(*(name for name in sys.modules if name.partition(".")[0] == "opentelemetry"))
"""


@dataclass
class Collector:
    """Takes spans as OTLP over HTTP."""

    spans: list[Any] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def serve(self) -> ThreadingHTTPServer:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for each in sent.ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = {one.value.string_value for one in each.resource.attributes if one.key == "service.name"}
                    collector.services.update(names)
                    collector.spans.extend(span for scope in each.scope_spans for span in scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def of_trace(self, trace: str) -> list[Any]:
        return [span for span in self.spans if span.trace_id.hex() == trace]


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, str]]:
    collected = Collector()
    server = collected.serve()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield collected, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def traced(
    collector: tuple[Collector, str], artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("traced") / "home"
    publish_copy(home, artifact)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector[1])
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with running(home) as server:
            yield server


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_request_is_a_span_below_its_callers_with_decode_wait_and_network(
    traced: Server, collector: tuple[Collector, str]
) -> None:
    answer = traced.client.post("/predict", content=encoded(), headers={**JPEG, **TRACEPARENT})
    assert answer.status_code == 200
    until(lambda: len(collector[0].of_trace(TRACE)) == 4)
    spans = {span.name: span for span in collector[0].of_trace(TRACE)}
    request = spans.pop("POST /predict")
    assert request.parent_span_id.hex() == CALLER
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
    }
    assert set(spans) == {"decode", "wait", "network"}
    assert {span.parent_span_id for span in spans.values()} == {request.span_id}
    decode, wait, network = spans["decode"], spans["wait"], spans["network"]
    assert decode.start_time_unix_nano <= decode.end_time_unix_nano <= wait.start_time_unix_nano
    assert wait.end_time_unix_nano == network.start_time_unix_nano < network.end_time_unix_nano
    assert attributes(network) == {"handful.model": "colours:1", "handful.batch_images": 1}
    assert collector[0].services == {"handful"}


def test_a_bad_image_names_its_error_and_no_word_of_a_request_is_told(
    traced: Server, collector: tuple[Collector, str]
) -> None:
    collected = collector[0]
    assert traced.client.post("/predict?x=SECRET", content=b"no image", headers=JPEG).status_code == 400
    assert traced.client.get("/SECRET").status_code == 404
    assert traced.client.request("SECRET", "/predict").status_code in {400, 405}
    traced.client.get("/readyz")
    until(lambda: {"GET other", "decode"} <= {span.name for span in collected.spans if span.trace_id.hex() != TRACE})
    (failed,) = (span for span in collected.spans if attributes(span).get("error.type"))
    assert (failed.name, attributes(failed)["error.type"], failed.status.code) == ("decode", "not_an_image", 2)
    assert "SECRET" not in str(collected.spans)
    assert "readyz" not in str(collected.spans)


def test_the_last_spans_are_sent_before_the_service_ends(
    collector: tuple[Collector, str], artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, caller = TRACE[::-1], CALLER[::-1]
    publish_copy(tmp_path / "home", artifact)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector[1])
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with running(tmp_path / "home") as server:
        headers = {**JPEG, "traceparent": f"00-{last}-{caller}-01"}
        assert server.client.post("/predict", content=encoded(), headers=headers).status_code == 200
        assert not collector[0].of_trace(last)
    assert len(collector[0].of_trace(last)) == 4


def test_nothing_is_imported_unless_spans_are_asked_for(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "HANDFUL_"))}
    environment = {**kept, "HANDFUL_HOME": str(tmp_path), "OTEL_SERVICE_NAME": "mine"}
    done = subprocess.run([sys.executable, "-c", IMPORTED], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_missing_package_is_named_and_the_service_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the extra is not installed: an entry of None makes the import fail."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert Tracing.from_environ({"OTEL_TRACES_EXPORTER": "otlp"}).tracer is None
    assert "they need `pip install opentelemetry-exporter-otlp-proto-http==" in caplog.text


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'; otlp or none is allowed."),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; http/protobuf is allowed.",
        ),
    ],
)
def test_what_is_not_allowed_is_said_and_the_service_goes_on(
    environ: dict[str, str], words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        tracing = Tracing.from_environ(environ)
    assert tracing.tracer is None
    assert caplog.messages == ([f"There will be no spans: {words}"] if words else [])
    with tracing.span("decode"):
        tracing.record("wait", 0, 1)
    tracing.close()


def test_a_collector_that_is_away_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    tracing = Tracing.from_environ()
    assert tracing.tracer is not None
    for _ in range(10):
        tracing.record("wait", 0, 1)
    tracing.close()
