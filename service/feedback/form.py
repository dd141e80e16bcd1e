"""A request -> an image and the label that is right for it; and which parameters a call takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from handful.service.http.body import check_form, file_data
from handful.service.http.errors import FieldMissing, FieldUnexpected, ImageMissing, ParameterWrong
from handful.service.http.filenames import short
from handful.service.http.multipart import Part, parse_multipart

TEXTS = frozenset({"label", "new"})


class Correction(NamedTuple):
    """An image and what it shows."""

    image: bytes
    label: str
    new: bool  # whether the model need not know the label


def correction(content_type: str, body: bytearray, query: Mapping[str, str]) -> Correction:
    """From multipart fields `image`, `label` and perhaps `new`; or the image as the body, the rest as parameters."""
    if content_type.partition(";")[0].strip().lower().startswith("image/"):
        return _correction(bytes(body), query)
    check_form(content_type, "image/*")
    parts = parse_multipart(content_type, body, most_parts=3)
    files = [file_data(part, "image") for part in parts if part.name not in TEXTS]
    texts = [(part.name, _text(part)) for part in parts if part.name in TEXTS]
    said = {**query, **dict(texts)}
    if len(said) < len(query) + len(texts) or len(files) > 1:
        raise FieldUnexpected("A field is there twice.")
    if not files:
        raise ImageMissing("There is no field 'image' with a file in it.")
    return _correction(files[0], said)


def _correction(image: bytes, said: Mapping[str, str]) -> Correction:
    label, new = said.get("label"), said.get("new", "false")
    if not label:
        raise FieldMissing("There is no 'label': the name of what the image shows is expected.")
    if new not in {"true", "false"}:
        raise ParameterWrong(f"new is {short(new)}; true or false is allowed.")
    return Correction(image, label, new == "true")


def _text(part: Part) -> str:
    if part.filename is not None:
        raise FieldUnexpected(f"The field {part.name!r} is a file; text is expected.")
    try:
        return part.data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise FieldUnexpected(f"The field {part.name!r} is not UTF-8 text.") from e


def check_parameters(query: Mapping[str, str], allowed: Collection[str]) -> None:
    """Raises `ParameterWrong` for a misspelt one, which would be silently without effect."""
    for name in query:
        if name not in allowed:
            raise ParameterWrong(f"There is a parameter {short(name)}; {', '.join(sorted(allowed))} are allowed.")
