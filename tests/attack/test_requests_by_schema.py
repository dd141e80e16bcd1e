"""Requests that schemathesis makes from the service's own description: every answer is one that it describes.

Hooks: a field or body of bytes is an image, a zip, or any bytes. Checks: those of schemathesis on the answer, and ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from handful.service.http.exchange import EVERY_ANSWER
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from running_server import Server, encoded, publish_copy, running
from zips import zipped

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.checks import CheckContext, not_a_server_error  # noqa: E402 - where it is installed
from schemathesis.specs.openapi.checks import (  # noqa: E402
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.slow

EXAMPLES = 15  # per call and kind
OF_LABEL_STUDIO = {
    "/label-studio/health": "GET",
    "/label-studio/setup": "POST",
    "/label-studio/predict": "POST",
    "/label-studio/webhook": "POST",
}
OF_A_MODEL = {  # path -> methods
    "/predict": "POST",
    "/predict_many": "POST",
    "/model": "GET",
    "": "GET PATCH DELETE",
    "/promote": "POST",
    "/rollback": "POST",
    "/versions/{version}/report": "GET",
    "/versions/{version}/report/ticket": "POST",
    "/versions/{version}/findings": "GET",
    "/versions/{version}/thumbnails": "GET",
    "/versions/{version}/thumbnails/{id}": "GET",
    "/explain": "POST",
    "/photos": "GET POST",
    "/photos/move": "POST",
    "/photos/delete": "POST",
    "/photos/{photo}": "GET",
    "/photos/{photo}/thumbnail": "GET",
    "/labels": "POST",
    "/labels/{label}": "PATCH DELETE",
    "/feedback": "POST",
    "/corrections": "GET",
    "/train": "POST",
    "/retrain": "POST",
    "/evaluate": "POST",
    "/export": "POST",
    "/pool": "GET",
    "/pool/label": "POST",
    "/pool/{photo}/predict": "POST",
    "/pool/{photo}/thumbnail": "GET",
    **OF_LABEL_STUDIO,
}
CALLS = (
    *("GET /", "GET /docs", "GET /page/{file}", "POST /thumbnail", "GET /schema.json"),
    *("GET /livez", "GET /healthz", "GET /readyz", "GET /metrics", "GET /access"),
    *("GET /model", "POST /predict", "POST /predict_many"),
    *("GET /retrain", "POST /retrain", "GET /retrain/{job}", "DELETE /retrain/{job}"),
    *("GET /feedback", "POST /feedback", "POST /undo/{token}"),
    *("GET /jobs", "GET /jobs/{job}", "DELETE /jobs/{job}", "GET /jobs/{job}/events", "GET /jobs/{job}/file"),
    *("GET /jobs/{job}/report", "POST /jobs/{job}/report/ticket"),
    *(f"{method} {path}" for path, method in OF_LABEL_STUDIO.items()),
    *("GET /models", "POST /models"),
    *(f"{method} /models/{{name}}{path}" for path, methods in OF_A_MODEL.items() for method in methods.split()),
)
WITHOUT_BODY = {
    *("POST /undo/{token}", "POST /models/{name}/rollback", "POST /models/{name}/pool/{photo}/predict"),
    *("POST /jobs/{job}/report/ticket", "POST /models/{name}/versions/{version}/report/ticket"),
}
WITH_BODY = [call for call in CALLS if call.startswith(("POST", "PATCH")) and call not in WITHOUT_BODY]
KINDS = [
    *((call, "positive") for call in CALLS),
    *((call, "negative") for call in WITH_BODY),  # what no other call can be given wrongly
]
FILES = st.one_of(
    st.sampled_from([encoded(), encoded("PNG"), encoded()[:200], zipped({"red/1.jpg": encoded()}), zipped({})]),
    st.binary(max_size=200),
)
BINARY_TYPES = ("image/*", "application/octet-stream", "application/zip")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifact: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("described")
    publish_copy(folder / "home", artifact)
    with running(folder / "home", feedback=str(folder / "corrections"), max_jobs="1") as server:
        yield server
        assert "Traceback" not in server.output()


@pytest.fixture(scope="module")
def schema(server: Server) -> Any:
    schemathesis.openapi.format("binary", FILES)
    for media_type in BINARY_TYPES:
        schemathesis.openapi.media_type(media_type, FILES)
        schemathesis.serializer(media_type)(_as_bytes)
    return schemathesis.openapi.from_url(f"{server.client.base_url}/openapi.json".replace("//o", "/o"))


def _as_bytes(_: Any, value: Any) -> Any:
    return value if isinstance(value, bytes) else str(value).encode()


def error_has_our_form(_: CheckContext, response: Any, __: Any) -> None:
    """Every error is one code and one sentence; every answer has the headers that all have."""
    for name in EVERY_ANSWER:
        assert name.decode() in {header.lower() for header in response.headers}
    if response.status_code >= 400:
        error = response.json()["error"]
        assert set(error) == {"code", "message"}
        assert len(error["message"]) < 400


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
    error_has_our_form,
]


def test_every_call_is_tried(schema: Any) -> None:
    described = {f"{result.ok().method.upper()} {result.ok().path}" for result in schema.get_all_operations()}
    assert described == set(CALLS)  # schemathesis leaves out the document itself


@pytest.mark.parametrize(("call", "mode"), KINDS)
def test_every_answer_is_one_that_is_described(schema: Any, call: str, mode: str) -> None:
    method, _, path = call.partition(" ")
    operation = schema[path][method]
    cases = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def tried(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, timeout=60)

    tried()
