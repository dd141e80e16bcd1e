"""ModelCard: the typed, versioned description of an artifact (`card.json`)."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.artifact.errors import ArtifactInconsistent, ArtifactVersionUnknown

FORMAT_VERSION: Literal[1] = 1

Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneCard(_Part):
    """Which pretrained network, to the byte."""

    ref: str = Field(description="as it was asked for, without the revision")
    revision: str | None = Field(None, description="commit on the Hub; None for a folder or the built-in one")
    sha256: Sha256 = Field(description="of the file of pretrained weights")


class HeadCard(_Part):
    kind: Literal["linear", "hidden"]
    settings: dict[str, float | int | str] = Field(description="what cross-validation chose")


class FineTuneCard(_Part):
    """How the whole network was trained end to end; the weights beside the card are then no longer the backbone's."""

    layer: str | None = Field(description="the first layer that was trained; None: all of them")
    settings: dict[str, float | int | str] = Field(description="of the training, chosen epochs included")
    accuracy_gain: float = Field(description="over the frozen backbone, on the same folds")
    accuracy_gain_ci95: tuple[float, float]


class UnknownCard(_Part):
    """When an image is said to resemble no label; the arrays lie in `embeddings.safetensors`."""

    method: str
    threshold: float = Field(description="a score above it is unknown")


class CrossValidationCard(_Part):
    """Measured on images that the head had not seen."""

    folds: int
    repeats: int
    accuracy: Share
    accuracy_ci95: tuple[Share, Share] = Field(description="Wilson interval")
    macro_f1: Share
    log_loss: float
    ece: Share = Field(description="expected calibration error, after the temperature")
    unknown_rate: Share = Field(description="share of the training images that are refused, out of fold")
    confusion: list[list[int]] = Field(description="rows: the folder's label, columns: the answer")


class DataCard(_Part):
    fingerprint: Sha256 = Field(description="of the sorted content hashes with their labels")
    images: int
    skipped: int
    per_label: dict[str, int]


class ModelCard(_Part):
    """Everything about an artifact that is not a tensor."""

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    version: str
    created_at: datetime
    parent: str | None = Field(None, description="the version that a retrain started from")
    labels: tuple[str, ...] = Field(min_length=2, description="in the order of the head's outputs")
    backbone: BackboneCard
    head: HeadCard
    finetune: FineTuneCard | None = Field(None, description="None: the backbone was frozen")
    temperature: float = Field(gt=0, description="logits are divided by it before the softmax")
    unknown: UnknownCard
    cross_validation: CrossValidationCard
    data: DataCard
    seed: int
    libraries: dict[str, str]
    files: dict[str, Sha256] = Field(description="sha256 of each file of tensors")

    @property
    def model(self) -> str:
        return f"{self.name}:{self.version}"


def parse_card(text: str, path: Path) -> ModelCard:
    """Strict: an unknown format version, an unknown key or a wrong type is an `ArtifactError`."""
    try:
        raw: Any = json_object(text)
    except ValueError as e:
        raise ArtifactInconsistent(f"{path} is not a JSON object ({e}).") from e
    got = raw.get("format_version")
    if got != FORMAT_VERSION:
        raise ArtifactVersionUnknown(
            f"{path} has format_version {got!r}; this version of handful reads {FORMAT_VERSION}."
        )
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the card"
        raise ArtifactInconsistent(f"{path}: {where}: {first['msg']}.") from e


def json_object(text: str) -> dict[str, Any]:
    """The text's one JSON object; anything else is a ValueError."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"got {type(value).__name__}")  # noqa: TRY004 - the caller's one kind of error
    return value
