"""A model and a labelled folder -> its answer to each photo, and their metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import DataError, ImageError
from handful.service.artifact.sources.listing import name_below
from handful.service.classifier import Classifier, Prediction
from handful.service.lean.classifier import OnnxClassifier
from handful.service.terminal.progress import TESTING, progress_bar
from handful.training.metrics import Metrics, metrics, recognition_metrics
from handful.training.photos.sources import Dataset, Problem
from handful.training.report.embedding_map import map_sample
from numpy.typing import NDArray

FOREIGN = -1  # in place of a label's number: the model does not know the folder's label


@dataclass(frozen=True)
class Answers:
    """The N readable photos of a folder, and what the model answered."""

    card: ModelCard
    dataset: Dataset
    paths: tuple[Path, ...]
    given: tuple[str, ...]  # label in the folder
    label_index: NDArray[np.int64]  # (N,) into the model's labels, or FOREIGN
    probabilities: NDArray[np.float64]  # (N, L)
    unknown_scores: NDArray[np.float32]  # (N,)
    refused: NDArray[np.bool_]  # (N,)
    mapped: NDArray[np.intp]  # (M,) rows whose embeddings are kept for the map
    embeddings: NDArray[np.float32]  # (M, D)
    problems: tuple[Problem, ...]

    @property
    def ours(self) -> NDArray[np.bool_]:
        """(N,) whether the model knows the photo's label."""
        return np.asarray(self.label_index != FOREIGN)

    def metrics(self) -> Metrics:
        if len(self.card.labels) == 1:
            return recognition_metrics(self.refused[self.ours])
        return metrics(self.probabilities[self.ours], self.label_index[self.ours], self.card.labels)

    def result(self) -> dict[str, Any]:
        """What `handful evaluate` prints.

        Accuracy, log loss and the confusion counts are those of the likeliest label, even where the image was taken
        for unknown; the share of these is `unknown_rate`. `foreign` counts the images under a label that the model
        does not know, and how many of them were taken for unknown.
        """
        return {
            "model": self.card.model,
            **({"one_label": self.card.labels[0]} if len(self.card.labels) == 1 else {}),
            **self.metrics().model_dump(mode="json"),
            "unknown_rate": float(self.refused[self.ours].mean()),
            "foreign": {"images": int((~self.ours).sum()), "refused": int(self.refused[~self.ours].sum())},
        }


def answer_dataset(classifier: Classifier | OnnxClassifier, dataset: Dataset, *, tta: bool = False) -> Answers:
    """`DataError` where the model knows no label of the folder, or no image under these labels can be read."""
    known = {name: index for index, name in enumerate(classifier.labels)}
    given = {example.path: dataset.labels[example.label] for example in dataset.examples}
    if not any(name in known for name in given.values()):
        raise DataError(
            f"{dataset.root} has the labels {', '.join(dataset.labels)}; the labels of {classifier.card.model} are"
            f" {', '.join(classifier.labels)}, and none of them is in the folder."
        )
    problems = list(dataset.problems)
    rows: list[_Row] = []
    mapped = set(map_sample(len(given), classifier.card.seed).tolist())
    with progress_bar(TESTING, len(given)) as progress:
        for number, (path, answer) in enumerate(classifier.classify(given, tta=tta)):
            progress(1)
            if isinstance(answer, ImageError):
                problems.append(Problem(name_below(path, dataset.root), answer.code, str(answer)))
            else:
                rows.append(_Row.of(path, answer, keep=number in mapped))
    label_index = np.array([known.get(given[row.path], FOREIGN) for row in rows], dtype=np.int64)
    if not (label_index != FOREIGN).any():
        raise DataError("None of the images under the model's labels could be read.")
    return Answers(
        card=classifier.card,
        dataset=dataset,
        paths=tuple(row.path for row in rows),
        given=tuple(given[row.path] for row in rows),
        label_index=label_index,
        probabilities=np.stack([row.probabilities for row in rows]),
        unknown_scores=np.array([row.unknown_score for row in rows]),
        refused=np.array([row.refused for row in rows]),
        mapped=np.array([number for number, row in enumerate(rows) if row.embedding is not None], dtype=np.intp),
        embeddings=np.array([row.embedding for row in rows if row.embedding is not None], dtype=np.float32),
        problems=tuple(problems),
    )


@dataclass(frozen=True)
class _Row:
    path: Path
    probabilities: NDArray[np.float64]  # (L,)
    unknown_score: float
    refused: bool
    embedding: NDArray[np.float32] | None  # (D,) where the map may show it

    @classmethod
    def of(cls, path: Path, answer: Prediction, *, keep: bool) -> _Row:
        kept = answer.embedding.copy() if keep else None  # a view would keep its whole batch in memory
        return cls(path, np.array(answer.probabilities), answer.unknown_score, answer.unknown, kept)
