"""A file of predictions against a reference: the result of `handful drift`."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import WEIGHTS
from handful.service.artifact.scores import ScoreHistogram
from handful.service.drift.predictions import PredictionCounts, PredictionFile, count_predictions
from handful.service.drift.psi import ScoreDrift, photos_to_tell, worst
from handful.service.drift.reference import of_earlier, of_training

CHANCE = 0.01  # that any label is said to be answered more or less often though it is not


def drift_result(file: PredictionFile, card: ModelCard, earlier: PredictionFile | None = None) -> dict[str, Any]:
    """The command's JSON. `UsageError` for files of another model, and where there is nothing to compare with."""
    for each in (file, earlier) if earlier else (file,):
        check_same_model(each, card)
    reference = of_earlier(file, earlier) if earlier else of_training(file, card)
    histograms = reference.histograms
    counts = count_predictions(file, histograms)
    drifts = {name: ScoreDrift.of(each.counts, counts.bins[name].tolist()) for name, each in histograms.items()}
    answered = counts.images - counts.failed
    return {
        "predictions": str(file.path),
        "model": card.model,
        "against": reference.name,
        "verdict": worst([drift.level for drift in drifts.values()]),
        "images": counts.images,
        "failed": counts.failed,
        "against_images": reference.images,
        "images_to_tell": photos_to_tell(reference.images),
        "unknown": {
            "share": counts.unknown / answered if answered else None,
            "against_share": reference.unknown_share,
        },
        "scores": {name: _score(drifts[name], each, counts, name) for name, each in histograms.items()},
        "labels": label_changes(counts, reference.counts, card.labels) if reference.counts else None,
    }


def check_same_model(file: PredictionFile, card: ModelCard) -> None:
    """Raises `UsageError` where the answers are of another model, as far as the file says whose they are."""
    if file.labels != card.labels:
        raise UsageError(
            f"{file.path} has the labels {_listed(file.labels)}; {card.model} answers with {_listed(card.labels)}."
        )
    if file.weights is not None and file.weights.get(WEIGHTS) == card.files.get(WEIGHTS):
        return  # whatever it was called then
    if file.model not in {None, card.model}:
        raise UsageError(
            f"{file.path} holds answers of {file.model}, not of {card.model}; name --model {file.model}, or classify"
            f" the photos with {card.model}."
        )
    if file.weights is not None:
        raise UsageError(f"{file.path} was answered by another model of the name {card.model}; classify again.")


def _listed(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _score(drift: ScoreDrift, histogram: ScoreHistogram, counts: PredictionCounts, name: str) -> dict[str, Any]:
    total = int(counts.bins[name].sum())
    return {
        "verdict": drift.level,
        "psi": round(drift.psi, 4) if total else None,
        "psi_by_chance": round(drift.by_chance, 4) if total else None,
        "above": round(drift.above, 4) if total else None,
        "bins": [
            {"up_to": edge, "against_share": before / histogram.images, "share": int(now) / total if total else None}
            for edge, before, now in zip([*histogram.edges, None], histogram.counts, counts.bins[name], strict=True)
        ],
    }


def label_changes(now: PredictionCounts, before: PredictionCounts, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """How often each label is answered; `changed` where chance seldom gives as much.

    Two shares are compared by the usual z test, at a level that holds for all labels together.
    """
    m, n = (counts.images - counts.failed for counts in (now, before))
    limit = NormalDist().inv_cdf(1 - CHANCE / (2 * len(labels)))
    changes = []
    for label in labels:
        a, b = now.per_label[label], before.per_label[label]
        pooled = (a + b) / max(m + n, 1)
        deviation = math.sqrt(pooled * (1 - pooled) * (1 / m + 1 / n)) if m and n else 0.0
        share, against = a / max(m, 1), b / max(n, 1)
        changed = bool(deviation) and abs(share - against) > limit * deviation
        changes.append({"label": label, "share": share, "against_share": against, "changed": changed})
    return changes
