"""The service's own description: every call, every answer, each error included."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from service.artifact.card import ModelCard
from service.artifact.errors import ImageError
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    FieldNotAFile,
    FieldUnexpected,
    ImageMissing,
    InternalError,
    KeyWrong,
    LoopbackOnly,
    MediaTypeUnsupported,
    MethodNotAllowed,
    MultipartBroken,
    NotReady,
    Overloaded,
    RequestError,
    TooManyImages,
    status_of,
)
from service.schemas import ErrorBody, PredictionBody
from service.settings import Settings

Object = dict[str, Any]
SCHEMAS = "#/components/schemas/"
ANYWHERE: tuple[type[RequestError], ...] = (KeyWrong, LoopbackOnly, MethodNotAllowed, InternalError)
UPLOAD: tuple[type[RequestError], ...] = (
    ImageMissing,
    FieldNotAFile,
    FieldUnexpected,
    TooManyImages,
    MultipartBroken,
    ClientGone,
    BodyTooSlow,
    BodyTooLarge,
    MediaTypeUnsupported,
    Overloaded,
    NotReady,
)


def openapi_document(settings: Settings) -> Object:
    """OpenAPI 3.1; the limits in it are the ones in force."""
    _, schemas = models_json_schema(
        [(PredictionBody, "serialization"), (ErrorBody, "serialization"), (ModelCard, "serialization")],
        ref_template=SCHEMAS + "{model}",
    )
    document: Object = {
        "openapi": "3.1.0",
        "info": {"title": "handful", "version": version("handful"), "description": "An image classifier."},
        "paths": _paths(settings),
        "components": {"schemas": schemas["$defs"]},
    }
    if settings.api_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _paths(settings: Settings) -> Object:
    raw = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
    file: Object = {"type": "string", "format": "binary"}
    files: Object = {"type": "array", "items": file, "minItems": 1, "maxItems": settings.max_images}
    entry = {"anyOf": [_ref("PredictionBody"), _ref("ErrorBody")]}
    one = f"One image of at most {settings.max_image_megabytes:g} MB and {settings.max_megapixels:g} megapixels."
    many = f"At most {settings.max_images} images, {settings.max_request_megabytes:g} MB together; one answer each."
    return {
        "/predict": {"post": _upload(one, {**_form("image", file), **raw}, _ref("PredictionBody"))},
        "/predict_many": {"post": _upload(many, _form("images", files), {"type": "array", "items": entry})},
        "/model": {"get": _call("The served model's card.", _json("The card", _ref("ModelCard")), NotReady)},
        "/livez": {"get": _probe("The process answers.")},
        "/healthz": {"get": _probe("The same as /livez.")},
        "/readyz": {"get": _probe("A model is loaded and warm.", NotReady)},
        "/metrics": {"get": _call("Counts for Prometheus.", _text("text/plain"))},
        "/openapi.json": {"get": _call("This document.", _json("OpenAPI 3.1", {"type": "object"}))},
        "/": {"get": {**_call("A page to try it.", _text("text/html")), "security": []}},
    }


def _form(field: str, schema: Object) -> Object:
    form = {"type": "object", "properties": {field: schema}, "required": [field], "additionalProperties": False}
    return {"multipart/form-data": {"schema": form}}


def _upload(summary: str, content: Object, answer: Object) -> Object:
    call = _call(summary, _json("In the order of the images", answer), *UPLOAD)
    return {**call, "requestBody": {"required": True, "content": content}}


def _probe(summary: str, *errors: type[RequestError]) -> Object:
    return {**_call(summary, _text("text/plain"), *errors), "security": []}


def _call(summary: str, success: Object, *errors: type[RequestError]) -> Object:
    return {"summary": summary, "responses": {"200": success, **_errors((*ANYWHERE, *errors))}}


def _errors(errors: tuple[type[RequestError], ...]) -> Object:
    codes: dict[str, set[str]] = {}
    for error in errors:
        codes.setdefault(str(error.status), set()).add(error.code)
    if ImageMissing in errors:
        for image_error in ImageError.__subclasses__():
            codes.setdefault(str(status_of(image_error(""))), set()).add(image_error.code)
    return {status: _json(", ".join(sorted(found)), _ref("ErrorBody")) for status, found in sorted(codes.items())}


def _json(description: str, schema: Object) -> Object:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _text(kind: str) -> Object:
    return {"description": "Text", "content": {kind: {"schema": {"type": "string"}}}}


def _ref(name: str) -> Object:
    return {"$ref": SCHEMAS + name}
