"""The part of a command's JSON that `train` and `retrain` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handful.service.artifact.card import ModelCard
from handful.service.classifier import Classifier
from handful.training.answers import answer_dataset
from handful.training.export import skipped
from handful.training.photos.inspection import Inspected
from handful.training.photos.sources import Dataset, read_folder


def published_result(card: ModelCard, path: Path, inspected: Inspected, seconds: dict[str, float]) -> dict[str, Any]:
    return {
        "model": card.model,
        "path": str(path),
        "labels": list(card.labels),
        "head": card.head.kind,
        "cv": card.cross_validation.model_dump(mode="json"),
        "unknown": card.unknown.model_dump(mode="json"),
        "report": str(path / "report" / "report.html"),
        "images": {"used": len(inspected.images), "skipped": skipped(inspected), "per_label": inspected.per_label},
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "problems": [vars(problem) for problem in inspected.problems],
    }


def held_out_result(artifact: Path, dataset: Dataset) -> dict[str, Any]:
    """`held_out`: metrics by part of a split folder, such as val/ and test/; empty where the folder is not split."""
    if not dataset.held_out:
        return {}
    classifier = Classifier.load(artifact)
    return {
        "held_out": {part.name: answer_dataset(classifier, read_folder(part)).result() for part in dataset.held_out}
    }
