"""A JSON body with one text, or with one image as base64, for clients that cannot send files.

The parser of Python makes a large tree of a small text, and recurses. So the text is first shown to have the few marks
that one image needs; only then is it parsed. No URL is fetched: a data URL holds its bytes itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import re

from handful.service.http.endpoint import Schema
from handful.service.http.errors import FieldMissing, FieldUnexpected, ImageMissing, JsonBroken
from handful.service.http.filenames import quoted

JSON_IMAGE: Schema = {
    "type": "object",
    "properties": {"image": {"type": "string", "description": "base64, or a data URL with base64; no other URL"}},
    "required": ["image"],
    "additionalProperties": False,
}
MOST_MARKS = 64  # of each kind; one image needs two brackets, four quotation marks, and two colons
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.ASCII | re.IGNORECASE)
_BEYOND_ASCII = re.compile(rb"\\u(?!00[0-7])", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]{0,20}:", re.IGNORECASE)


def body_megabytes(image_megabytes: float) -> float:
    """How large a body may be whose image may be so large: base64 writes three bytes as four letters."""
    return image_megabytes * 4 / 3


def json_image(body: bytearray) -> bytes:
    """`{"image": "<base64 or data URL>"}` -> its bytes. Raises `JsonBroken`, `FieldUnexpected` or `ImageMissing`."""
    fields = _flat_object(body)
    for name in fields:
        if name != "image":
            raise FieldUnexpected(f"There is a field {quoted(name)}; only 'image' is allowed.")
    if "image" not in fields:
        raise ImageMissing("The JSON object has no field 'image'; the image as base64 is expected in it.")
    return _decoded(fields["image"])


def json_text(body: bytearray, field: str) -> str:
    """`{field: text}` -> the text. Only for a small body. Raises `JsonBroken`, `FieldUnexpected` or `FieldMissing`."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unlike)
    except (ValueError, RecursionError) as e:
        raise JsonBroken("The body is not JSON, or it is cut off.") from e
    if not isinstance(value, dict):
        raise JsonBroken(f'The JSON body is no object; {{"{field}": "..."}} is allowed.')
    for name in value:
        if name != field:
            raise FieldUnexpected(f"There is a field {quoted(name)}; only {field!r} is allowed.")
    text = value.get(field)
    if text is None:
        raise FieldMissing(f"There is no {field!r}; a text is expected.")
    if not isinstance(text, str):
        raise JsonBroken(f"The field {field!r} is no text; a text is expected.")
    return text


def _flat_object(body: bytearray) -> dict[str, object]:
    if not body.isascii() or _BEYOND_ASCII.search(body):
        raise JsonBroken("The JSON body has letters beyond ASCII; an object with one field 'image' needs none.")
    if any(body.count(mark) > MOST_MARKS for mark in (b"{", b"[", b'"', b",")):
        raise JsonBroken('The JSON body holds many values; {"image": "..."} is allowed.')
    try:
        value = json.loads(body.decode("ascii"), object_pairs_hook=_unlike)
    except (ValueError, RecursionError) as e:
        raise JsonBroken("The body is not JSON, or it is cut off.") from e
    if not isinstance(value, dict):
        raise JsonBroken('The JSON body is no object; {"image": "..."} is allowed.')
    return value


def _unlike(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise FieldUnexpected("A field of the JSON object occurs twice; each is allowed once.")
    return fields


def _decoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise JsonBroken("The field 'image' is no text; base64 is expected.")
    start = match.end() if (match := _DATA_URL.match(text)) else 0
    try:
        return base64.b64decode(_without_line_breaks(text[start:]), validate=True)
    except (binascii.Error, ValueError) as e:
        if start == 0 and _URL.match(text):
            raise JsonBroken("The field 'image' is a URL; base64 is expected, as a URL is not fetched.") from e
        raise JsonBroken("The field 'image' is not base64.") from e


def _without_line_breaks(text: str) -> str:
    """Tools like `base64` break lines."""
    return text.replace("\n", "").replace("\r", "") if "\n" in text else text
