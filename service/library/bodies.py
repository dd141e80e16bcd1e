"""The bodies of requests and answers about photos, as types. The OpenAPI document is derived from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from handful.service.http.json_request import JsonRequest
from handful.service.http.schemas import FeedbackBody
from handful.service.library.listing import LibraryPhoto
from handful.service.library.problems import PhotoProblem
from pydantic import BaseModel, ConfigDict, Field

MOST_IDS = 10_000  # of photos in one request
PhotoId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ChosenPhotos(JsonRequest):
    """Photos by their ids."""

    ids: list[PhotoId] = Field(min_length=1, max_length=MOST_IDS)


class MoveRequest(ChosenPhotos):
    """Photos, and the label that they move to; it may be new."""

    label: str


class LabelRequest(JsonRequest):
    """A label's name."""

    label: str


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemBody(_Body):
    kind: str = Field(description="duplicate, near_duplicate, in_two_labels, outlier or unreadable")
    detail: str = Field(description="one sentence for a person")


class PhotoBody(_Body):
    """One photo of the library."""

    id: str = Field(description="the sha256 of its bytes")
    label: str
    name: str = Field(description="of its file")
    bytes: int
    added_at: datetime
    problems: list[ProblemBody]


class LabelCount(_Body):
    label: str
    photos: int


class PhotosBody(_Body):
    total: int = Field(description="photos that match, shown or not")
    labels: list[LabelCount] = Field(description="every label, those without photos included")
    photos: list[PhotoBody] = Field(description="newest first")


class CorrectionsBody(_Body):
    waiting: int
    photos: list[PhotoBody] = Field(description="that the champion has not learned, or under another label")


class AddedPhoto(_Body):
    id: str
    name: str = Field(description="as it was sent")


class SamePhoto(AddedPhoto):
    label: str = Field(description="under which the library has it already")


class RefusedBody(_Body):
    name: str
    code: str
    message: str


class UploadedBody(_Body):
    """What became of each file of an upload."""

    added: list[AddedPhoto]
    same: list[SamePhoto] = Field(description="that the library had already; they stay where they were")
    refused: list[RefusedBody]


class _Undoable(_Body):
    undo: str = Field(description="POST /undo/TOKEN takes it back")
    until: datetime


class MovedPhotosBody(_Undoable):
    moved: int


class DeletedPhotosBody(_Undoable):
    deleted: int


class DeletedLabelBody(_Undoable):
    """A label that was deleted with its photos."""


class LabelAddedBody(_Body):
    label: str = Field(description="in its usual form")


class RenamedLabelBody(_Body):
    renamed: int = Field(description="photos that the label had")
    merged: bool = Field(description="whether they joined those of another label")


class LibraryFeedbackBody(FeedbackBody):
    """Under which label a corrected photo lies now."""

    id: str = Field(description="of the photo in the library; the same as sha256")


def photo_body(photo: LibraryPhoto, problems: list[PhotoProblem]) -> PhotoBody:
    return PhotoBody(
        id=photo.id,
        label=photo.label,
        name=photo.name,
        bytes=photo.size_bytes,
        added_at=photo.added_at,
        problems=[ProblemBody(kind=each.kind, detail=each.detail) for each in problems],
    )
