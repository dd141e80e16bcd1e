"""ModelCard: the typed, versioned description of an artifact (`card.json`)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from handful.service.artifact.errors import ArtifactInconsistent, ArtifactVersionUnknown
from handful.service.artifact.label_names import has_controls, labels_error
from handful.service.artifact.scores import ScoresCard
from handful.service.artifact.verdict import Verdict, verdict_on
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

FORMAT_VERSION: Literal[2] = 2  # 2 added the verdict, and thumbnails.safetensors
READABLE = (1, FORMAT_VERSION)

Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackboneCard(_Part):
    """The pretrained network, identified by its bytes."""

    ref: str = Field(description="as it was named, without the revision")
    revision: str | None = Field(None, description="commit on the Hub; None for a folder or a built-in one")
    sha256: Sha256 = Field(description="of the file of pretrained weights")
    architecture: str | None = Field(None, description="timm's name; None in the card of an earlier release")
    licence: str | None = Field(None, description="of the weights, as their description states it")


class HeadCard(_Part):
    kind: Literal["linear", "hidden"]
    settings: dict[str, float | int | str] = Field(description="what cross-validation chose")


class FineTuneCard(_Part):
    """How the whole network was trained; the weights beside the card then differ from the pretrained backbone's."""

    layer: str | None = Field(description="the first layer that was trained; None: all layers were")
    settings: dict[str, float | int | str] = Field(description="of the training, with the chosen epochs")
    accuracy_gain: float = Field(description="over the frozen backbone, on the same folds")
    accuracy_gain_ci95: tuple[float, float]
    log_loss_gain: float = Field(description="nats, calibrated; decides, if its interval lies above zero")
    log_loss_gain_ci95: tuple[float, float]


class Int8Card(_Part):
    """The backbone may be computed in 8-bit integers: the ranges of its tensors, and what this changes."""

    ranges: dict[str, tuple[float, float]] = Field(description="smallest and largest value, by the tensor's name")
    images: int = Field(description="training photos answered both ways, by heads that had not seen them")
    answers_changed: Share
    log_loss_change: float = Field(description="nats; above zero is worse")
    ece_change: float


class UnknownCard(_Part):
    """When an image resembles no label; the arrays are in `embeddings.safetensors`."""

    method: str
    threshold: float = Field(description="a score above it is unknown")
    other_least: float | None = Field(None, description="added to a score at least, for the likeness to unknown.other")
    left_out_label_refused: Share | None = Field(
        None, description="share of the training images that are unknown when their own label is left out"
    )
    other_refused: Share | None = Field(None, description="the same of the images of no label, out of fold")


class CrossValidationCard(_Part):
    """Accuracy and calibration, measured on images that the head had not seen."""

    folds: int
    repeats: int
    accuracy: Share = Field(description="of the likeliest label; of a single label: share that is not unknown")
    accuracy_ci95: tuple[Share, Share] = Field(description="95 % interval, for the head learned from all images")
    effective_images: float | None = Field(
        None, gt=0, description="independent answers that the interval counts; None: an older version, Wilson's of all"
    )
    macro_f1: Share
    log_loss: float
    ece: Share = Field(description="expected calibration error, after the temperature")
    unknown_rate: Share = Field(description="share of the training images that are unknown, out of fold")
    confusion: list[list[int]] = Field(description="rows: the folder's label, columns: the answer")


class ForecastCard(_Part):
    """The accuracy to expect with more photos like the learned ones, from the learning curve."""

    more_per_label: int = Field(gt=0, description="images of each label, besides those learned")
    accuracy: Share
    accuracy_ci95: tuple[Share, Share]

    @property
    def sentence(self) -> str:
        low, high = self.accuracy_ci95
        return (
            f"With {self.more_per_label} more photos of each label, like these, it would answer about"
            f" {100 * self.accuracy:.0f} of 100 right (95 % interval {100 * low:.0f} to {100 * high:.0f})."
        )


class DataCard(_Part):
    fingerprint: Sha256 = Field(description="of the sorted content hashes with their labels")
    images: int
    skipped: int
    per_label: dict[str, int]
    other: int = Field(0, ge=0, description="images of no label that it was shown, which are unknown")
    embeddings_kept: bool = Field(default=True, description="False: the artifact has no data about single photos")


class ComparisonCard(_Part):
    """Champion and challenger on the same photos, which the answering head had not seen."""

    images: int
    champion_accuracy: Share
    challenger_accuracy: Share
    champion_log_loss: float | None = Field(description="over the labels that both know; None: no photo has one")
    challenger_log_loss: float | None


class OtherComparisonCard(_Part):
    """How many images each side answers with unknown, both out of fold where it had learned them."""

    images: int = Field(description="of no label")
    champion_refused: int
    challenger_refused: int
    known: int = Field(description="images of the labels that both had learned")
    champion_refused_known: int
    challenger_refused_known: int


class GateCard(_Part):
    """Whether this version may replace the champion it was compared with; training/retraining/gate.py has the rules.

    Which version became the champion may differ: a person can overrule the gate.
    """

    champion: str = Field(description="NAME:VERSION that it was compared with")
    passed: bool
    reason: str
    known: ComparisonCard | None = Field(description="on photos that the champion had learned, on the same folds")
    new: ComparisonCard | None = Field(description="on photos that it had not learned")
    other: OtherComparisonCard | None = Field(None, description="None: neither was shown images of no label")
    p_forgets: Share = Field(description="probability that equal models lose so many known photos")
    p_worse: Share = Field(description="the same for all photos and labels")
    wrong_labels: Share | None = Field(description="share of the new labels that the champion's answers contradict")
    wrong_labels_at_least: Share | None = Field(description="its lower bound, one-sided, at 97.5 %")


class OriginCard(_Part):
    """Where a pulled version comes from; the card's `parent` is then a version there, not here."""

    repo: str = Field(description="ORG/NAME on the Hub, or the address of the model in another store")
    revision: str = Field(description="its commit; in another store the sha256 of the version's version.json")
    model: str = Field(description="NAME:VERSION of the card there")


class ModelCard(_Part):
    """Everything about an artifact that is not a tensor."""

    format_version: Literal[2] = FORMAT_VERSION
    name: str
    version: str
    created_at: datetime
    parent: str | None = Field(None, description="NAME:VERSION that a retrain started from")
    origin: OriginCard | None = Field(None, description="None: trained here")
    labels: tuple[str, ...] = Field(min_length=1, description="in the order of the head's outputs")
    backbone: BackboneCard
    head: HeadCard
    finetune: FineTuneCard | None = Field(None, description="None: the backbone was frozen")
    int8: Int8Card | None = Field(None, description="None: not tried, or the answers changed too much")
    temperature: float = Field(gt=0, description="logits are divided by it before the softmax")
    unknown: UnknownCard
    cross_validation: CrossValidationCard
    verdict: Verdict = Field(
        default_factory=lambda card: _measured(card["labels"], card["cross_validation"]),
        description="how far it can be relied on, and what would help",
    )
    forecast: ForecastCard | None = Field(None, description="None: nothing can be said about more photos")
    gate: GateCard | None = Field(None, description="None: no retrain made it")
    training_scores: ScoresCard | None = Field(None, description="None: an earlier release made it")
    data: DataCard
    seed: int
    libraries: dict[str, str]
    files: dict[str, Sha256] = Field(description="sha256 of each file of tensors")

    @property
    def model(self) -> str:
        return f"{self.name}:{self.version}"

    @field_validator("cross_validation")
    @classmethod
    def _is_of_the_labels(cls, value: CrossValidationCard, info: ValidationInfo) -> CrossValidationCard:
        count = len(info.data.get("labels", value.confusion))
        if [len(row) for row in value.confusion] != [count] * count:
            raise ValueError(f"confusion must have a row and a column for each of the {count} labels")
        return value


def _measured(labels: tuple[str, ...], measured: CrossValidationCard) -> Verdict:
    """For a card of format 1, which has no verdict."""
    return verdict_on(labels, measured.confusion, measured.accuracy_ci95)


def parse_card(text: str, path: Path) -> ModelCard:
    """Raises an `ArtifactError` for an unknown format version, an unknown key or a wrong type."""
    try:
        raw: Any = json_object(text)
    except ValueError as e:
        raise ArtifactInconsistent(f"{path} is not a JSON object ({e}).") from e
    got = raw.get("format_version")
    if got not in READABLE:
        raise ArtifactVersionUnknown(
            f"{path} has format_version {got!r}; this version of handful reads {READABLE[0]} to {READABLE[-1]}."
        )
    if wrong := next((each for each in _texts(raw) if has_controls(each)), None):
        raise ArtifactInconsistent(f"{path}: {ascii(wrong)[:60]} contains control characters.")
    try:
        card = ModelCard.model_validate_json(json.dumps({**raw, "format_version": FORMAT_VERSION}))
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:200] or "the card"
        raise ArtifactInconsistent(f"{path}: {where}: {first['msg']}.") from e
    if error := _card_error(card):
        raise ArtifactInconsistent(f"{path}: {error}.")
    return card


def _texts(raw: Any) -> Iterator[str]:
    """Every text in a JSON value, the keys too."""
    pending = [raw]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            pending += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            pending += each


def _card_error(card: ModelCard) -> str | None:
    """What contradicts itself in a card, as a sentence without its full stop; None if nothing does."""
    if error := labels_error(card.labels):
        return error
    if not card.version.isascii() or not card.version.isdecimal():
        return f"version is {card.version[:60]!r}; a whole number is expected"
    if set(card.data.per_label) != set(card.labels):
        return "data.per_label has other labels than labels"
    confusion = card.cross_validation.confusion
    if len(confusion) != len(card.labels) or any(len(row) != len(card.labels) for row in confusion):
        return f"cross_validation.confusion is no table of {len(card.labels)} by {len(card.labels)}"
    if not all(map(math.isfinite, (card.temperature, card.unknown.threshold, card.unknown.other_least or 0))):
        return "temperature or threshold is not finite"
    return None


def json_object(text: str) -> dict[str, Any]:
    """Parses one JSON object. Raises ValueError for anything else."""
    try:
        value = json.loads(text)
    except RecursionError as e:
        raise ValueError("it is nested too deeply") from e
    if not isinstance(value, dict):
        raise ValueError(f"got {type(value).__name__}")  # noqa: TRY004 - the caller's one kind of error
    return value
