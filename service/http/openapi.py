"""The OpenAPI document, derived from the endpoints and the types of their answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from handful.service.http.auth import common_errors, needs_key
from handful.service.http.endpoint import TEXT, Answer, Endpoint, Schema
from handful.service.http.errors import AnyError, status_of
from handful.service.http.schemas import ErrorBody
from pydantic import TypeAdapter

COMPONENTS = "#/components/schemas/{model}"


def openapi_document(endpoints: Sequence[Endpoint], *, has_key: bool) -> Schema:
    """OpenAPI 3.1; with a key, every call but the open ones needs it as a bearer token."""
    bodies = [ErrorBody, *(answer.body for endpoint in endpoints for answer in endpoint.answers.values())]
    schemas, components = TypeAdapter.json_schemas(
        [(index, "serialization", TypeAdapter(body)) for index, body in enumerate(bodies)],
        ref_template=COMPONENTS,
    )
    of_body = {repr(body): schemas[index, "serialization"] for index, body in enumerate(bodies)}
    paths: Schema = {}
    for endpoint in endpoints:
        path = paths.setdefault(endpoint.path, _path_parameters(endpoint.path))
        path[endpoint.method.lower()] = _operation(endpoint, of_body)
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": "handful", "version": version("handful"), "description": "An image classifier."},
        "paths": paths,
        "components": {"schemas": components["$defs"]},
    }
    if has_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _path_parameters(path: str) -> Schema:
    names = re.findall(r"{(\w+)}", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]
    return {"parameters": parameters} if parameters else {}


def _operation(endpoint: Endpoint, of_body: Schema) -> Schema:
    answers = {str(status): _answer(answer, of_body) for status, answer in endpoint.answers.items()}
    errors = _errors((*common_errors(endpoint.method, endpoint.path), *endpoint.errors), of_body[repr(ErrorBody)])
    operation: Schema = {"summary": endpoint.summary, "responses": {**answers, **errors}}
    if endpoint.content:
        content = {media_type: {"schema": schema} for media_type, schema in endpoint.content.items()}
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.parameters:
        operation["parameters"] = [{"name": p.name, "in": "query", "schema": p.schema} for p in endpoint.parameters]
    if not needs_key(endpoint.path):
        operation["security"] = []
    return operation


def _answer(answer: Answer, of_body: Schema) -> Schema:
    response = _response(answer.description, of_body[repr(answer.body)], answer.media_type)
    if answer.headers:
        response["headers"] = {name: {"schema": TEXT} for name in answer.headers}
    return response


def _errors(errors: Iterable[AnyError], body: Schema) -> Schema:
    """One response per status; its description names the codes."""
    codes: dict[str, set[str]] = {}
    for error in errors:
        codes.setdefault(str(status_of(error)), set()).add(error.code)
    return {status: _response(", ".join(sorted(named)), body) for status, named in sorted(codes.items())}


def _response(description: str, schema: Any, media_type: str = "application/json") -> Schema:
    return {"description": description, "content": {media_type: {"schema": schema}}}
