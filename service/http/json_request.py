"""A JSON body of few values -> the type that a call expects."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from handful.service.artifact.label_names import printable
from handful.service.http.body import JSON, off_loop, read_body
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import Schema
from handful.service.http.errors import JsonBroken, MediaTypeUnsupported
from handful.service.http.filenames import quoted
from handful.service.http.multipart import media_type
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.requests import Request

MAX_JSON_BYTES = 1_000_000  # ten thousand ids of photos have 680,000
MOST_VALUES = 200_000  # of a body that may be larger: a hundred megabytes of numbers would fill the memory
MESSAGE_LETTERS = 200
M = TypeVar("M", bound="JsonRequest")


class JsonRequest(BaseModel):
    """One JSON object of a request; what it does not name is refused, as a misspelt name would have no effect."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


async def read_json(
    request: Request, kind: type[M], seconds: float, bodies: Capacity, limit_bytes: int = MAX_JSON_BYTES
) -> M:
    """Raises `JsonBroken`, `MediaTypeUnsupported`, or what `read_body` raises."""
    content_type = request.headers.get("content-type", "")
    if media_type(content_type) != JSON:
        raise MediaTypeUnsupported(f"The Content-Type is {quoted(content_type)}; {JSON} is allowed.")
    with bodies.reserve() as reservation:
        body = await read_body(request.headers, request.receive, limit_bytes, seconds, reservation)
        try:
            return await off_loop(partial(_parsed, kind, body), len(body))
        except ValidationError as e:
            raise JsonBroken(_sentence(e, kind)) from e


async def read_optional_json(request: Request, kind: type[M], seconds: float, bodies: Capacity) -> M:
    """As `read_json`; without a body, every value that has a default."""
    if "content-type" not in request.headers and request.headers.get("content-length", "0") == "0":
        return kind()
    return await read_json(request, kind, seconds, bodies)


def _parsed(kind: type[M], body: bytearray) -> M:
    """A parser makes a large tree of a small text, so a large body must hold few values."""
    if len(body) > MAX_JSON_BYTES and sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise JsonBroken(f"The JSON body holds more than {MOST_VALUES:,} values, which are allowed.")
    return kind.model_validate_json(bytes(body))


def _sentence(error: ValidationError, kind: type[JsonRequest]) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    fields = ", ".join(field.alias or name for name, field in kind.model_fields.items())
    wrong = f"{quoted(where)}: {first['msg']}" if where else str(first["msg"])
    return f"The JSON body is not as expected ({printable(wrong)[:MESSAGE_LETTERS]}); an object with {fields} is."


def json_content(kind: type[JsonRequest]) -> dict[str, Schema]:
    """For the description of an endpoint."""
    schema: Any = TypeAdapter(kind).json_schema(by_alias=True)
    return {JSON: _inlined(schema, schema.pop("$defs", {}))}


def _inlined(part: Any, named: Mapping[str, Any]) -> Any:
    """The schema with what it refers to in its place, as it stands in another document."""
    if isinstance(part, list):
        return [_inlined(each, named) for each in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inlined(named[part["$ref"].rpartition("/")[2]], named)
    return {key: _inlined(each, named) for key, each in part.items()}
