"""A model and a labelled folder that it has not seen -> metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from service.artifact.errors import DataError, ImageError
from service.artifact.files import relative_name
from service.artifact.progress import progress_bar
from service.artifact.store import Store
from service.classifier import Classifier
from training.dataset import Dataset, Problem, read_folder
from training.evaluation import metrics


def evaluate_folder(folder: Path, model: str | None) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The metrics of `handful evaluate`, and the files that were left out.

    Accuracy, log loss and the confusion counts are those of the likeliest label, whether or not
    the image was refused; the share refused is `unknown_rate`. Images under a label that the
    model does not know are counted in `foreign`: how many, and how many of them were refused.
    """
    classifier = Classifier.load(Store().resolve(model))
    dataset = read_folder(folder)
    if not dataset.held_out:
        return evaluate_dataset(classifier, dataset)
    return evaluate_dataset(classifier, read_folder(dataset.held_out[0]))


def evaluate_dataset(classifier: Classifier, dataset: Dataset) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """See `evaluate_folder`; raises `DataError` where no label of the folder is one of the model's."""
    known = {name: index for index, name in enumerate(classifier.labels)}
    truth = {example.path: known.get(dataset.labels[example.label]) for example in dataset.examples}
    if not any(label is not None for label in truth.values()):
        raise DataError(
            f"{dataset.root} has the labels {', '.join(dataset.labels)}; {classifier.card.model} knows"
            f" {', '.join(classifier.labels)}, and none of them is there."
        )
    problems = list(dataset.problems)
    rows: list[tuple[int | None, tuple[float, ...], bool]] = []
    with progress_bar("evaluate", len(truth)) as progress:
        for path, answer in classifier.classify(truth):
            progress(1)
            if isinstance(answer, ImageError):
                problems.append(Problem(relative_name(path, dataset.root), answer.code, str(answer)))
            else:
                rows.append((truth[path], answer.probabilities, answer.unknown))
    return _measured(classifier, rows), tuple(problems)


def _measured(classifier: Classifier, rows: list[tuple[int | None, tuple[float, ...], bool]]) -> dict[str, Any]:
    ours = [(label, probabilities, unknown) for label, probabilities, unknown in rows if label is not None]
    foreign = [unknown for label, _, unknown in rows if label is None]
    if not ours:
        raise DataError("None of the images under the model's labels could be read.")
    labels = np.array([label for label, _, _ in ours])
    measured = metrics(np.array([probabilities for _, probabilities, _ in ours]), labels, classifier.labels)
    return {
        "model": classifier.card.model,
        "images": len(ours),
        **measured.model_dump(mode="json"),
        "unknown_rate": sum(unknown for _, _, unknown in ours) / len(ours),
        "foreign": {"images": len(foreign), "refused": sum(foreign)},
    }
