"""What travels over HTTP, as types; `openapi.py` describes the calls with them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from service.classifier import Prediction


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
