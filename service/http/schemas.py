"""The bodies of answers, as types. The OpenAPI document is derived from them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelProbability(_Body):
    label: str
    probability: float = Field(ge=0, le=1, description="calibrated")


class PredictionBody(_Body):
    """One image's answer."""

    model: str = Field(description="NAME:VERSION of the model that answered")
    label: str | None = Field(description="null if the image is unknown: it resembles no label")
    confidence: float = Field(ge=0, le=1, description="the probability of the most likely label")
    unknown: bool
    predictions: list[LabelProbability] = Field(description="every label, the most likely first")


class ErrorDetail(_Body):
    code: str = Field(description="for programs")
    message: str = Field(description="one sentence for a person")


class ErrorBody(_Body):
    error: ErrorDetail


State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
Promote = Literal["auto", "always", "never"]
Kind = Literal["train", "retrain", "evaluate", "export"]


class Progress(_Body):
    """How far the current stage is."""

    stage: str
    done: int
    total: int | None = Field(description="null if it is not known")
    seconds_left: int | None = Field(None, description="of the whole job; null until it can be guessed")


class JobSummary(_Body):
    """One training, retraining, evaluation or export."""

    job: str
    kind: Kind = "retrain"
    name: str = Field(description="the model's name")
    state: State = Field(
        description="interrupted means that the service ended meanwhile: send the photos again; a job on the photo"
        " library waits again instead"
    )
    promote: Promote = Field(description="when the new version becomes the champion")
    files: int = Field(description="how many files the zip holds, or photos of the library are used")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress | None = Field(None, description="null unless the job is running and has reported some")
    error: ErrorDetail | None = Field(None, description="why the job is not done")


class JobBody(JobSummary):
    """One job with its result."""

    result: dict[str, Any] | None = Field(None, description="what the command of the same name prints with --json")


class JobEvent(_Body):
    """What an event `progress` of a job's stream says."""

    state: State
    stage: str | None
    done: int
    total: int | None
    seconds_left: int | None


class TicketBody(_Body):
    """What opens one page for a minute, in its address: `?ticket=...`."""

    ticket: str


class JobsBody(_Body):
    jobs: list[JobSummary] = Field(description="newest first")


class FeedbackBody(_Body):
    """Under which label a corrected image is stored now."""

    label: str
    previous: str | None = Field(description="the label that it had before; null if the image is new")
    sha256: str = Field(description="of the image's bytes; also the file's name in the folder")


class FeedbackCounts(_Body):
    images: dict[str, int] = Field(description="how many images each label has")


def error_body(code: str, message: str) -> dict[str, object]:
    """An `ErrorBody` as a plain dict."""
    return {"error": {"code": code, "message": message}}
