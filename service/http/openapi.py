"""The service's own description: every call, every answer, each error included."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ImageError
from handful.service.http.errors import (
    ArchiveError,
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    CrossSite,
    DiskFull,
    FeedbackFull,
    FeedbackOff,
    FieldMissing,
    FieldNotAFile,
    FieldUnexpected,
    ImageMissing,
    InternalError,
    JobEnded,
    JobNotFound,
    KeyWrong,
    LabelUnknown,
    LabelWrong,
    LoopbackOnly,
    MediaTypeUnsupported,
    MethodNotAllowed,
    MultipartBroken,
    NotReady,
    Overloaded,
    ParameterWrong,
    RequestError,
    RetrainOff,
    TooManyImages,
    TooManyJobs,
    status_of,
)
from handful.service.http.schemas import ErrorBody, FeedbackBody, FeedbackCounts, JobBody, JobsBody, PredictionBody
from handful.service.settings import Settings
from pydantic.json_schema import models_json_schema

Object = dict[str, Any]
SCHEMAS = "#/components/schemas/"
Errors = tuple[type[RequestError], ...]
ANYWHERE: Errors = (KeyWrong, LoopbackOnly, MethodNotAllowed, InternalError)
BODY: Errors = (
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
IMAGES: Errors = (ImageMissing, *BODY)
ZIP: Errors = (
    *BODY,
    *ArchiveError.__subclasses__(),
    FieldMissing,
    ParameterWrong,
    CrossSite,
    RetrainOff,
    TooManyJobs,
    DiskFull,
)
LABELLED: Errors = (
    FeedbackOff,
    FieldMissing,
    ParameterWrong,
    LabelWrong,
    LabelUnknown,
    CrossSite,
    FeedbackFull,
    DiskFull,
)
BODIES = (PredictionBody, ErrorBody, ModelCard, JobBody, JobsBody, FeedbackBody, FeedbackCounts)


def openapi_document(settings: Settings) -> Object:
    """OpenAPI 3.1; the limits in it are the ones in force."""
    _, schemas = models_json_schema(
        [(body, "serialization") for body in BODIES],
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
    text: Object = {"type": "string"}
    files: Object = {"type": "array", "items": file, "minItems": 1, "maxItems": settings.max_images}
    entry = {"anyOf": [_ref("PredictionBody"), _ref("ErrorBody")]}
    one = f"One image of at most {settings.max_image_megabytes:g} MB and {settings.max_megapixels:g} megapixels."
    many = f"At most {settings.max_images} images, {settings.max_request_megabytes:g} MB together; one answer each."
    return {
        "/predict": {"post": _upload(one, {**_form(image=file), **raw}, _ref("PredictionBody"))},
        "/predict_many": {"post": _upload(many, _form(images=files), {"type": "array", "items": entry})},
        **_retrain(settings, file),
        "/feedback": _feedback(settings, {"image": file, "label": text}, raw),
        "/model": {"get": _call("The served model's card.", _json("The card", _ref("ModelCard")), NotReady)},
        "/livez": {"get": _probe("The process answers.")},
        "/healthz": {"get": _probe("The same as /livez.")},
        "/readyz": {"get": _probe("A model is loaded and warm.", NotReady)},
        "/metrics": {"get": _call("Counts for Prometheus.", _text("text/plain"))},
        "/openapi.json": {"get": _call("This document.", _json("OpenAPI 3.1", {"type": "object"}))},
        "/": {"get": {**_call("A page to try it.", _text("text/html")), "security": []}},
    }


def _retrain(settings: Settings, file: Object) -> Object:
    summary = (
        f"A zip of a labelled folder, at most {settings.max_retrain_megabytes:g} MB and {settings.max_retrain_files}"
        " entries: a job that learns it on top of what the served model knows."
    )
    content = {"application/zip": {"schema": {"type": "string", "format": "binary"}}, **_form(photos=file)}
    job = _json("The job", _ref("JobBody"))
    send = {
        **_call(summary, {**job, "headers": {"Location": {"schema": {"type": "string"}}}}, *ZIP, success_status="202"),
        "requestBody": {"required": True, "content": content},
        "parameters": [_parameter("promote", {"enum": ["auto", "always", "never"], "default": "auto"})],
    }
    one = {"parameters": [{**_parameter("job", {"type": "string"}), "in": "path", "required": True}]}
    cancel = _call("Ends the job, unless it has ended.", job, JobNotFound, JobEnded, CrossSite)
    cancel["responses"]["202"] = _json("It takes long to end", _ref("JobBody"))
    return {
        "/retrain": {"post": send, "get": _call("The jobs.", _json("Newest first", _ref("JobsBody")))},
        "/retrain/{job}": {**one, "get": _call("How far a job is.", job, JobNotFound), "delete": cancel},
    }


def _feedback(settings: Settings, fields: Object, raw: Object) -> Object:
    summary = "An image and its right label, kept to learn from" + ("." if settings.feedback else "; off here.")
    summary += " Corrections alone look like wrong labels to a retrain: promote=always takes them all the same."
    stored = _json("It is there, perhaps moved", _ref("FeedbackBody"))
    correct = _call(summary, stored, *IMAGES, *LABELLED)
    correct["responses"]["201"] = _json("It is new", _ref("FeedbackBody"))
    new = {"type": "boolean", "default": False, "description": "the model need not know the label"}
    return {
        "post": {
            **correct,
            "requestBody": {"required": True, "content": {**_form(("new",), **fields, new=new), **raw}},
            "parameters": [_parameter("label", {"type": "string"}), _parameter("new", new)],
        },
        "get": _call("How many images there are.", _json("By label", _ref("FeedbackCounts")), FeedbackOff),
    }


def _parameter(name: str, schema: Object) -> Object:
    return {"name": name, "in": "query", "schema": schema}


def _form(optional: tuple[str, ...] = (), **fields: Object) -> Object:
    required = [name for name in fields if name not in optional]
    form = {"type": "object", "properties": fields, "required": required, "additionalProperties": False}
    return {"multipart/form-data": {"schema": form}}


def _upload(summary: str, content: Object, answer: Object) -> Object:
    call = _call(summary, _json("In the order of the images", answer), *IMAGES)
    return {**call, "requestBody": {"required": True, "content": content}}


def _probe(summary: str, *errors: type[RequestError]) -> Object:
    return {**_call(summary, _text("text/plain"), *errors), "security": []}


def _call(summary: str, success: Object, *errors: type[RequestError], success_status: str = "200") -> Object:
    return {"summary": summary, "responses": {success_status: success, **_errors((*ANYWHERE, *errors))}}


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
