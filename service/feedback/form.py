"""A request -> an image and the label that is right for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from handful.service.http.body import check_form, file_data, is_image
from handful.service.http.endpoint import TEXT, Parameter
from handful.service.http.errors import FieldMissing, FieldUnexpected, ImageMissing, ParameterWrong
from handful.service.http.filenames import quoted
from handful.service.http.multipart import Part, parse_multipart

PARAMETERS = (
    Parameter("label", TEXT),
    Parameter("new", {"type": "boolean", "default": False, "description": "the label may be new to the model"}),
)
MAX_TEXT_BYTES = 1000  # per field of text; the longest label has 400
TEXT_FIELDS = tuple(parameter.name for parameter in PARAMETERS)


class FeedbackForm(NamedTuple):
    """An image and what it shows. `new` allows a label that the model does not have."""

    image: bytes
    label: str
    new: bool
    filename: str | None = None  # as the client sent it


def parse_form(content_type: str, body: bytearray, query: Mapping[str, str]) -> FeedbackForm:
    """From the multipart fields `image`, `label` and perhaps `new`; or the image is the body, and the rest parameters.

    Raises the errors of `BODY_ERRORS`, `ImageMissing`, `FieldMissing` or `ParameterWrong`.
    """
    if is_image(content_type):
        return _form(bytes(body), query)
    check_form(content_type, "image/* or application/octet-stream")
    parts = parse_multipart(content_type, body, fields=["image", *TEXT_FIELDS], max_parts=1 + len(PARAMETERS))
    files = [(file_data(part, "image"), part.filename) for part in parts if part.name not in TEXT_FIELDS]
    texts = [(part.name, _text(part)) for part in parts if part.name in TEXT_FIELDS]
    fields = {**query, **dict(texts)}
    if len(fields) < len(query) + len(texts) or len(files) > 1:
        raise FieldUnexpected("A field occurs twice; each is allowed once.")
    if not files:
        raise ImageMissing("There is no field 'image' with a file in it.")
    return _form(files[0][0], fields, files[0][1])


def _form(image: bytes, fields: Mapping[str, str], filename: str | None = None) -> FeedbackForm:
    label, new = fields.get("label"), fields.get("new", "false")
    if not label:
        raise FieldMissing("There is no 'label': the name of what the image shows is expected.")
    if new not in {"true", "false"}:
        raise ParameterWrong(f"new is {quoted(new)}; true or false is allowed.")
    return FeedbackForm(image, label, new == "true", filename)


def _text(part: Part) -> str:
    if part.filename is not None:
        raise FieldUnexpected(f"The field {part.name!r} is a file; text is expected.")
    if len(part.data) > MAX_TEXT_BYTES:
        raise FieldUnexpected(
            f"The field {part.name!r} has {len(part.data)} bytes; at most {MAX_TEXT_BYTES} are allowed."
        )
    try:
        return part.data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise FieldUnexpected(f"The field {part.name!r} is not UTF-8 text.") from e
