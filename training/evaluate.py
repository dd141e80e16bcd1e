"""`handful evaluate`: a model and a labelled folder that it has not seen -> metrics and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.store import Store, home, name_from_folder
from handful.service.classifier import Classifier
from handful.service.terminal.progress import LOADING_MODEL, REPORTING, next_stage
from handful.training.answers import answer_dataset
from handful.training.checks import check_report
from handful.training.photos.sources import Dataset, Problem, read_folder
from handful.training.report.of_evaluation import write_evaluation_report


def evaluate_folder(
    folder: Path, model: str | Path | None, report: Path | None = None, *, tta: bool = False
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """What `handful evaluate` prints, and the problems of the folder; the report is written to the folder `report`.

    `model` is an artifact's folder, or as `Store.resolve` takes it.
    `UsageError` where the report cannot be written or would lie among the models.
    """
    store = Store()
    artifact = open_artifact(model if isinstance(model, Path) else store.resolve(model))
    card = artifact.card
    where = report or home() / "reports" / f"{card.name}-{card.version}" / name_from_folder(folder)
    check_report(where, store.models)
    dataset = read_folder(folder)
    if dataset.held_out:
        dataset = read_folder(dataset.held_out[0])
    next_stage(LOADING_MODEL)
    evaluated = answer_dataset(Classifier.from_artifact(artifact), dataset, tta=tta)
    next_stage(REPORTING)
    learned = artifact.embeddings() if card.data.embeddings_kept else {}
    try:
        page = write_evaluation_report(
            where, evaluated, folder.resolve().name, {name: tensor.numpy() for name, tensor in learned.items()}
        )
    except OSError as e:
        raise UsageError(f"The report cannot be written to {where} ({e.strerror}); --report takes a folder.") from e
    return {**evaluated.result(), "tta": tta, "report": str(page)}, evaluated.problems


def held_out_result(artifact: Path, dataset: Dataset) -> dict[str, Any]:
    """`held_out`: metrics by part of a split folder, such as val/ and test/; empty where the folder is not split."""
    if not dataset.held_out:
        return {}
    classifier = Classifier.load(artifact)
    return {
        "held_out": {part.name: answer_dataset(classifier, read_folder(part)).result() for part in dataset.held_out}
    }
