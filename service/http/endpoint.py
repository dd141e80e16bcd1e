"""One HTTP call as a record. Routes and the OpenAPI document are both made from these records.

A module that answers calls lists its endpoints beside their handlers; nothing else needs to know about a new one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from handful.service.http.errors import AnyError, ParameterWrong
from handful.service.http.filenames import quoted
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Schema = dict[str, Any]  # JSON schema
FILE: Schema = {"type": "string", "format": "binary"}
TEXT: Schema = {"type": "string"}


@dataclass(frozen=True)
class Parameter:
    """A query parameter, or the form field of the same name."""

    name: str
    schema: Schema


@dataclass(frozen=True)
class Answer:
    """A successful answer; `body` is the type of its JSON, or `str` for text."""

    description: str
    body: Any
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """One method of one path. Errors that every call can meet (`auth.common_errors`) are not listed here."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Response]]
    summary: str
    answers: Mapping[int, Answer]  # by status
    errors: tuple[AnyError, ...] = ()
    parameters: tuple[Parameter, ...] = ()  # in the query
    content: Mapping[str, Schema] | None = None  # the request's body by media type

    def route(self) -> Route:
        return Route(self.path, self.handler, methods=[self.method])


def methods_by_path(endpoints: Iterable[Endpoint]) -> dict[str, set[str]]:
    """All methods that each path answers; wherever GET does, so does HEAD."""
    methods: dict[str, set[str]] = {}
    for endpoint in endpoints:
        own = {"GET", "HEAD"} if endpoint.method == "GET" else {endpoint.method}
        methods.setdefault(endpoint.path, set()).update(own)
    return methods


def form(fields: Mapping[str, Schema], *, optional: Collection[str] = ()) -> dict[str, Schema]:
    """A multipart form with exactly these fields, as an endpoint's content."""
    required = [name for name in fields if name not in optional]
    schema = {"type": "object", "properties": dict(fields), "required": required, "additionalProperties": False}
    return {"multipart/form-data": schema}


def check_parameters(query: Mapping[str, str], allowed: Collection[Parameter]) -> None:
    """Raises `ParameterWrong` for an unknown parameter: a misspelt one would silently have no effect."""
    names = sorted(parameter.name for parameter in allowed)
    for name in query:
        if name not in names:
            raise ParameterWrong(f"There is a parameter {quoted(name)}; {', '.join(names)} are allowed.")
