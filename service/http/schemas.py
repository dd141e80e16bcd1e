"""What travels over HTTP, as types; `openapi.py` describes the calls with them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from handful.service.classifier import Prediction
from pydantic import BaseModel, ConfigDict, Field


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelProbability(_Body):
    label: str
    probability: float = Field(ge=0, le=1, description="calibrated")


class PredictionBody(_Body):
    """One image's answer."""

    model: str = Field(description="NAME:VERSION that answered")
    label: str | None = Field(description="null: unknown, the image resembles no label")
    confidence: float = Field(ge=0, le=1, description="the probability of the likeliest label")
    unknown: bool
    predictions: list[LabelProbability] = Field(description="every label, likeliest first")


class ErrorDetail(_Body):
    code: str = Field(description="for programs")
    message: str = Field(description="one sentence for a person")


class ErrorBody(_Body):
    error: ErrorDetail


State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
Promote = Literal["auto", "always", "never"]


class Progress(_Body):
    """How far the present stage is."""

    stage: str
    done: int
    total: int | None = Field(description="null: not known")


class JobSummary(_Body):
    """One retraining."""

    job: str
    name: str = Field(description="of the model")
    state: State = Field(description="interrupted: the service ended meanwhile; send the photos again")
    promote: Promote = Field(description="when the new version becomes the champion")
    files: int = Field(description="in the zip that was sent")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress | None = Field(None, description="null unless running, and before there is any")
    error: ErrorDetail | None = Field(None, description="why it is not done")


class JobBody(JobSummary):
    """One retraining with what came of it."""

    result: dict[str, Any] | None = Field(None, description="what `handful retrain --json` prints")


class JobsBody(_Body):
    jobs: list[JobSummary] = Field(description="newest first")


class FeedbackBody(_Body):
    """Where a corrected image lies now."""

    label: str
    previous: str | None = Field(description="the label that it had before; null: it is new here")
    sha256: str = Field(description="of the image's bytes; its name in the folder")


class FeedbackCounts(_Body):
    images: dict[str, int] = Field(description="by label")


def prediction_body(model: str, labels: tuple[str, ...], prediction: Prediction) -> dict[str, object]:
    """As `PredictionBody`; plain, because it is made for every image."""
    ranked = sorted(zip(labels, prediction.probabilities, strict=True), key=lambda pair: -pair[1])
    return {
        "model": model,
        "label": prediction.label,
        "confidence": prediction.confidence,
        "unknown": prediction.unknown,
        "predictions": [{"label": label, "probability": probability} for label, probability in ranked],
    }


def error_body(code: str, message: str) -> dict[str, object]:
    """As `ErrorBody`."""
    return {"error": {"code": code, "message": message}}
