"""The bodies of answers about the models of the store, as types. The OpenAPI document is derived from them."""

from __future__ import annotations

from datetime import datetime

from handful.service.artifact.card import ModelCard
from handful.service.artifact.verdict import Level
from pydantic import BaseModel, ConfigDict, Field


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VerdictBody(_Body):
    """How far a version can be relied on."""

    level: Level
    title: str
    sentence: str = Field(description="the reason, and what would help")


class GateBody(_Body):
    """Whether a retrained version was good enough to replace the champion that it was compared with."""

    promoted: bool = Field(description="what the comparison said; a person can overrule it")
    reason: str


class VersionBody(_Body):
    """One version of a model; null where its files are broken or it was made without."""

    version: str
    created_at: datetime | None
    champion: bool
    parent: str | None = Field(description="NAME:VERSION that a retrain started from")
    accuracy: float | None
    accuracy_ci95: tuple[float, float] | None
    images: int
    labels: list[str]
    verdict: VerdictBody | None
    gate: GateBody | None
    report: bool = Field(description="whether it has a report")
    broken: str | None = Field(None, description="why it cannot be used")


class _Model(_Body):
    name: str
    labels: list[str] = Field(description="those of the champion; without one those of the photo library")
    accuracy: float | None
    accuracy_ci95: tuple[float, float] | None
    verdict: VerdictBody | None
    images: int = Field(description="that the champion has learned")
    champion: str | None = Field(description="its version; null: none yet")
    changed_at: datetime | None
    loaded: bool = Field(description="whether the worker that answers has it in memory")
    photos: int = Field(description="in the photo library")


class ModelBody(_Model):
    """One model of the store, described by its champion."""

    versions: int = Field(description="how many there are")


class ModelDetail(_Model):
    """One model with its versions."""

    card: ModelCard | None = Field(description="the champion's")
    versions: list[VersionBody] = Field(description="newest first")


class FoundBody(_Body):
    """A training photo that was answered wrongly, or whose label looks wrong."""

    name: str
    label: str = Field(description="of its folder")
    answer: str | None = Field(description="of heads that had not seen it; null: unknown")
    confidence: float | None
    thumbnail: str | None = Field(description="path of a small picture")
    photo: str | None = Field(description="its id, where the photo library has the same content")
    reason: str | None = Field(description="of a suspected label")


class ConfusionBody(_Body):
    labels: list[str]
    counts: list[list[int]] = Field(description="rows: the folder's label, columns: the answer")


class LabelFindings(_Body):
    photos: int
    right: int
    taken_for: dict[str, int] = Field(description="wrong answers, the most frequent first")


class FindingsBody(_Body):
    """What cross-validation found."""

    confusion: ConfusionBody
    mistakes: list[FoundBody] = Field(description="the most confident first; none from versions of earlier releases")
    mistake_count: int
    suspects: list[FoundBody]
    suspect_count: int
    listed: bool = Field(description="false: this version was made without a list of single photos")
    forecast: str | None = Field(description="what more photos would help")
    per_label: dict[str, LabelFindings]


class ThumbnailBody(_Body):
    """A training photo of which the artifact keeps a small picture."""

    id: str
    label: str
    name: str
    thumbnail: str = Field(description="path of the picture")
    photo: str | None = Field(description="its id, where the photo library has the same content")


class ThumbnailsBody(_Body):
    total: int
    thumbnails: list[ThumbnailBody]


class ModelsBody(_Body):
    default: str | None = Field(description="the model that /predict asks")
    may_change: bool
    models: list[ModelBody]


class AccessBody(_Body):
    """What the caller may do."""

    key_needed: bool
    may_change: bool
    may_ask: bool


class DeletedBody(_Body):
    undo: str = Field(description="POST /undo/TOKEN brings it back")
    until: datetime


class UndoneBody(_Body):
    undone: str = Field(description="one sentence")
