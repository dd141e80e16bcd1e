"""`handful evaluate`: a model and a labelled folder that it has not seen -> metrics and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.names import name_from_folder
from handful.service.artifact.sources.columns import ColumnNames
from handful.service.artifact.store import Store, home
from handful.service.classifier import Classifier
from handful.service.terminal.progress import LOADING_MODEL, REPORTING, next_stage, tell
from handful.training.answers import answer_dataset
from handful.training.checks import check_report
from handful.training.photos.inspection import Inspected
from handful.training.photos.overlap import learned_among
from handful.training.photos.sources import Dataset, Problem, read_folder
from handful.training.report.of_evaluation import write_evaluation_report


def evaluate_folder(
    folder: Path,
    model: str | Path | None,
    report: Path | None = None,
    *,
    tta: bool = False,
    columns: ColumnNames | None = None,
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
    whole = read_folder(folder, columns, card.labels)
    for words in whole.first_words:
        tell(words)
    dataset = whole.held_out[0] if whole.held_out else whole
    if dataset is not whole:
        tell(f"measured on {dataset.name}/")
    next_stage(LOADING_MODEL)
    evaluated = answer_dataset(Classifier.from_artifact(artifact), dataset, tta=tta)
    next_stage(REPORTING)
    learned = artifact.embeddings() if card.data.embeddings_kept else {}
    try:
        page = write_evaluation_report(
            where, evaluated, name_from_folder(folder), {name: tensor.numpy() for name, tensor in learned.items()}
        )
    except OSError as e:
        raise UsageError(f"The report cannot be written to {where} ({e.strerror}); --report takes a folder.") from e
    known = {row.tobytes().hex() for row in learned["hashes"].numpy()} if "hashes" in learned else set()
    result = {**evaluated.result(), "learned": learned_among(dataset, known), "tta": tta, "report": str(page)}
    return result, evaluated.problems


def held_out_result(artifact: Path, dataset: Dataset, inspected: Inspected) -> dict[str, Any]:
    """`held_out`: metrics by part of a divided source, such as val/ and test/; empty where there are no parts.

    `learned` counts the part's photos that are among those learned from.
    """
    known = {image.content_sha256 for image in inspected.images}
    held_out: dict[str, Any] = {}
    for part in dataset.held_out:
        if set(part.labels) & set(inspected.labels):
            result = answer_dataset(Classifier.load(artifact), part).result()
            held_out[part.name] = {**result, "learned": learned_among(part, known)}
    return {"held_out": held_out} if held_out else {}
