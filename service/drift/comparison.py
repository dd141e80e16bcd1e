"""A file of predictions against what the model's card keeps of its training photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import WEIGHTS
from handful.service.artifact.scores import ScoreHistogram
from handful.service.drift.predictions import PredictionCounts, PredictionFile, count_predictions
from handful.service.drift.psi import ScoreDrift, photos_to_tell, worst


def drift_result(file: PredictionFile, card: ModelCard) -> dict[str, Any]:
    """The command's JSON. `UsageError` for a file of another model, and for a card without scores."""
    check_same_model(file, card)
    histograms = compared_histograms(file, card)
    counts = count_predictions(file, histograms)
    drifts = {name: ScoreDrift.of(each.counts, counts.bins[name].tolist()) for name, each in histograms.items()}
    answered, training = counts.images - counts.failed, max(each.images for each in histograms.values())
    return {
        "predictions": str(file.path),
        "model": card.model,
        "verdict": worst([drift.level for drift in drifts.values()]),
        "images": counts.images,
        "failed": counts.failed,
        "training_images": training,
        "images_to_tell": photos_to_tell(training),
        "unknown": {
            "share": counts.unknown / answered if answered else None,
            "training_share": card.cross_validation.unknown_rate,
        },
        "scores": {name: _score(drifts[name], histograms[name], counts, name) for name in histograms},
    }


def check_same_model(file: PredictionFile, card: ModelCard) -> None:
    """Raises `UsageError` where the answers are of another model, as far as the file says whose they are."""
    if file.model is not None and file.model != card.model:
        raise UsageError(
            f"{file.path} holds answers of {file.model}, not of {card.model}; name --model {file.model}, or classify"
            f" the photos with {card.model}."
        )
    if file.labels != card.labels:
        raise UsageError(
            f"{file.path} has the labels {_listed(file.labels)}; {card.model} answers with {_listed(card.labels)}."
        )
    if file.weights is not None and file.weights.get(WEIGHTS) != card.files.get(WEIGHTS):
        raise UsageError(f"{file.path} was answered by another model of the name {card.model}; classify again.")


def _listed(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def compared_histograms(file: PredictionFile, card: ModelCard) -> Mapping[str, ScoreHistogram]:
    """By score, those of training that the file also has."""
    scores = card.training_scores
    if scores is None:
        name = card.model.partition(":")[0]
        raise UsageError(
            f"{card.model} was made by an earlier release, which did not keep how sure it was of its training photos;"
            f" `handful retrain FOLDER --model {name}` or `handful train` makes a version that does."
        )
    found = {"unknown_score": scores.unknown_score if file.has_unknown_score else None}
    # an average over ten views is not what training's photos were scored by
    found["confidence"] = None if file.tta else scores.confidence
    kept = {name: each for name, each in found.items() if each is not None}
    if not kept:
        raise UsageError(f"{file.path} has no column unknown_score, as an earlier release wrote it; classify again.")
    return kept


def _score(drift: ScoreDrift, histogram: ScoreHistogram, counts: PredictionCounts, name: str) -> dict[str, Any]:
    total = max(int(counts.bins[name].sum()), 1)
    return {
        "verdict": drift.level,
        "psi": round(drift.psi, 4),
        "psi_by_chance": None if total == 1 and not counts.bins[name].any() else round(drift.by_chance, 4),
        "above_training": round(drift.above, 4),
        "bins": [
            {"up_to": edge, "training_share": expected / histogram.images, "share": int(photos) / total}
            for edge, expected, photos in zip(
                [*histogram.edges, None], histogram.counts, counts.bins[name], strict=True
            )
        ],
    }
