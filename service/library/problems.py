"""What the last learning found wrong with photos of the library, kept by content until the photos change.

PHOTOS/.library/problems.json   problems of training's `check`, by the sha256 of the photo
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from handful.service.artifact.atomic import replace_text
from handful.service.artifact.errors import ImageError
from handful.service.library.contents import Contents
from handful.service.library.listing import LibraryPhoto
from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "problems.json"
_UNREADABLE = {error.code for error in ImageError.__subclasses__()}
_KINDS = {  # training's -> the page's
    **dict.fromkeys(_UNREADABLE, "unreadable"),
    "two_labels": "in_two_labels",
    "near_duplicate_two_labels": "in_two_labels",
    "doubted_label": "outlier",
}


class PhotoProblem(NamedTuple):
    """One thing that is wrong with a photo."""

    kind: str
    detail: str


class _Found(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    detail: str
    place: str  # where the photo lay
    others: tuple[str, ...]  # where the photos lay that the detail speaks of


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: dict[str, list[_Found]]


def save_problems(hidden: Path, result: Mapping[str, Any], ids: Mapping[str, str]) -> None:
    """From a command's result; `ids` are those of the photos that it was given, by place. Raises OSError.

    What an earlier command found of other photos stays.
    """
    given = set(ids.values())
    before = {photo_id: found for photo_id, found in _read(hidden).items() if photo_id not in given}
    found: dict[str, list[_Found]] = defaultdict(list, before)
    for problem in _problems(result):
        place, detail = problem["path"], problem["detail"]
        if place in ids:
            others = tuple(other for other in ids if other != place and other in detail)
            kind = _KINDS.get(problem["kind"], problem["kind"])
            found[ids[place]].append(_Found(kind=kind, detail=detail, place=place, others=others))
    replace_text(hidden / FILE, _File(photos=found).model_dump_json())


def _problems(result: Mapping[str, Any]) -> list[dict[str, str]]:
    problems = [each for each in result.get("problems") or () if isinstance(each, dict)]
    texts = [{key: each.get(key) for key in ("path", "kind", "detail")} for each in problems]
    return [
        {key: text for key, text in each.items() if isinstance(text, str)}
        for each in texts
        if all(isinstance(text, str) for text in each.values())
    ]


def problems_of(hidden: Path, photos: Collection[LibraryPhoto], contents: Contents) -> dict[str, list[PhotoProblem]]:
    """By place: what learning found and still holds, what cannot be decoded, and the same file twice."""
    places, found = {photo.place for photo in photos}, _read(hidden)
    unreadable, copies = contents.unreadable(), _copies(photos)
    problems: dict[str, list[PhotoProblem]] = {}
    for photo in photos:
        own = [
            PhotoProblem(each.kind, each.detail)
            for each in found.get(photo.id, ())
            if each.place == photo.place and places.issuperset(each.others)
        ]
        own += _as_copy(photo, copies.get(photo.id, ()), own)
        if photo.id in unreadable and not any(each.kind == "unreadable" for each in own):
            own.append(PhotoProblem("unreadable", unreadable[photo.id]))
        if own:
            problems[photo.place] = own
    return problems


def _copies(photos: Iterable[LibraryPhoto]) -> dict[str, list[LibraryPhoto]]:
    by_id: dict[str, list[LibraryPhoto]] = defaultdict(list)
    for photo in photos:
        by_id[photo.id].append(photo)
    return {photo_id: files for photo_id, files in by_id.items() if len(files) > 1}


def _as_copy(
    photo: LibraryPhoto, copies: Collection[LibraryPhoto], known: Collection[PhotoProblem]
) -> list[PhotoProblem]:
    others = [copy for copy in copies if copy.place != photo.place]
    if not others:
        return []
    kind = "in_two_labels" if any(copy.label != photo.label for copy in others) else "duplicate"
    detail = f"The same file is {', '.join(copy.place for copy in others)}."
    return [] if any(each.kind == kind for each in known) else [PhotoProblem(kind, detail)]


def _read(hidden: Path) -> dict[str, list[_Found]]:
    with suppress(OSError, ValidationError, UnicodeDecodeError):
        return _File.model_validate_json((hidden / FILE).read_text(encoding="utf-8")).photos
    return {}
