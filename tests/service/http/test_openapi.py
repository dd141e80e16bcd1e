"""The OpenAPI document follows from the endpoints alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handful.service.api import Api
from handful.service.http.endpoint import FILE, TEXT, Answer, Endpoint, Parameter, form
from handful.service.http.errors import LabelWrong
from handful.service.http.openapi import openapi_document
from handful.service.http.schemas import ErrorBody, PredictionBody
from handful.service.settings import Settings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response


async def handler(_: Request) -> Response:
    return PlainTextResponse("")


def test_an_endpoint_is_described_with_all_that_its_record_says() -> None:
    endpoint = Endpoint(
        "POST",
        "/feedback/{name}",
        handler,
        "A summary.",
        answers={201: Answer("Made", list[PredictionBody | ErrorBody], headers=("Location",))},
        errors=(LabelWrong,),
        parameters=(Parameter("new", TEXT),),
        content=form({"image": FILE, "new": TEXT}, optional={"new"}),
    )
    document = openapi_document([endpoint], has_key=True)
    path: dict[str, Any] = document["paths"]["/feedback/{name}"]
    call = path["post"]
    assert path["parameters"] == [{"name": "name", "in": "path", "required": True, "schema": TEXT}]
    assert call["summary"] == "A summary."
    assert call["parameters"] == [{"name": "new", "in": "query", "schema": TEXT}]
    assert call["requestBody"]["content"]["multipart/form-data"]["schema"]["required"] == ["image"]
    made = call["responses"]["201"]
    references = [{"$ref": f"#/components/schemas/{name}"} for name in ("PredictionBody", "ErrorBody")]
    assert made["content"]["application/json"]["schema"] == {"type": "array", "items": {"anyOf": references}}
    assert list(made["headers"]) == ["Location"]
    described = {status: each["description"] for status, each in call["responses"].items()}
    assert described["400"] == "label_wrong, parameter_wrong, request_broken"
    assert described["403"] == "cross_site, loopback_only, may_not_change"
    assert described["401"] == "key_wrong"
    assert {"PredictionBody", "LabelProbability", "ErrorBody"} <= set(document["components"]["schemas"])
    assert document["security"] == [{"key": []}]


def test_every_call_of_the_service_is_described_and_every_reference_leads_somewhere() -> None:
    api = Api(Settings(feedback=Path("corrections"), max_images=3))
    paths = api.document["paths"].items()
    described = {(method.upper(), path) for path, item in paths for method in item if method != "parameters"}
    assert described == {(each.method, each.path) for each in api.endpoints}
    components = {f"#/components/schemas/{name}" for name in api.document["components"]["schemas"]}
    assert set(references(api.document)) == components
    images = api.document["paths"]["/predict_many"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert images["properties"]["images"]["maxItems"] == 3
    assert "security" not in api.document
    assert api.document["paths"]["/livez"]["get"]["security"] == []


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for each in node for reference in references(each)]
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [reference for each in node.values() for reference in references(each)]
    return []
