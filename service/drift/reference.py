"""What the photos of a file are compared with: those that the model learned, or those of an earlier file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import UsageError
from handful.service.artifact.scores import ScoreHistogram
from handful.service.drift.predictions import SCORES, PredictionCounts, PredictionFile, count_predictions


@dataclass(frozen=True)
class DriftReference:
    """`histograms` by score, of those that both sides have."""

    name: str  # of the file; "training"
    histograms: Mapping[str, ScoreHistogram]
    unknown_share: float | None
    counts: PredictionCounts | None = None  # of the earlier file

    @property
    def images(self) -> int:
        return max(each.images for each in self.histograms.values())


def of_training(file: PredictionFile, card: ModelCard) -> DriftReference:
    """`UsageError` for a card without scores, and for a file that has none of them."""
    scores = card.training_scores
    if scores is None:
        name = card.model.partition(":")[0]
        raise UsageError(
            f"{card.model} was made by an earlier release, which did not keep how sure it was of its training photos;"
            f" `handful retrain FOLDER --model {name}` makes a version that does, and --against compares with a file."
        )
    found = {"unknown_score": scores.unknown_score if file.has_unknown_score else None}
    # an average over ten views is not what training's photos were scored by
    found["confidence"] = None if file.tta else scores.confidence
    return DriftReference("training", _kept(file, found), card.cross_validation.unknown_rate)


def of_earlier(file: PredictionFile, earlier: PredictionFile) -> DriftReference:
    """`UsageError` where the earlier file has no photo, or was answered in another way."""
    if file.tta != earlier.tta:
        raise UsageError(
            f"Of {file.path} and {earlier.path}, one was answered from ten views of each photo and the other"
            " from one; two files of one kind are expected."
        )
    collected: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    for rows in earlier.batches():
        for name, scores in rows.scores.items():
            collected[name].append(scores)
    found = {name: ScoreHistogram.of(np.concatenate(each)) if each else None for name, each in collected.items()}
    if not file.has_unknown_score:
        found["unknown_score"] = None
    counts = count_predictions(earlier, {})
    answered = counts.images - counts.failed
    return DriftReference(
        str(earlier.path), _kept(earlier, found), counts.unknown / answered if answered else None, counts
    )


def _kept(file: PredictionFile, found: Mapping[str, ScoreHistogram | None]) -> Mapping[str, ScoreHistogram]:
    kept = {name: each for name, each in found.items() if each is not None}
    if not kept:
        raise UsageError(f"{file.path} has no scores to compare; a file of `handful classify` with them is expected.")
    return kept
