"""Embeddings with labels -> everything that is learned from them, each part judged on images it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import fold_numbers, make_folds
from handful.training.head.selection import FittedHead, HeadSettings, fit_head
from handful.training.head.unknown import fit_unknown, out_of_fold_scores
from handful.training.metrics import Metrics, metrics
from handful.training.photos.inspection import Inspected


@dataclass(frozen=True)
class Fitted:
    """Head, temperature and unknown detector, with what they answered out of fold."""

    head: FittedHead
    temperature: float
    unknown: UnknownDetector
    metrics: Metrics
    probabilities: np.ndarray  # (N, L)
    unknown_scores: np.ndarray  # (N,)
    folds: int
    repeats: int
    fold_of_image: np.ndarray  # (N, R) uint8

    @property
    def refused(self) -> np.ndarray:
        """(N,) bool: a real photo that is taken for unknown."""
        return np.asarray(self.unknown_scores > self.unknown.threshold)


def fit(inspected: Inspected, settings: HeadSettings, seed: int) -> Fitted:
    """The same folds serve the head, the temperature and the unknown detector."""
    embeddings, labels, label_count = inspected.embeddings, inspected.label_index, len(inspected.labels)
    folds = make_folds(labels, inspected.groups, seed, inspected.folds)
    head = fit_head(embeddings, labels, inspected.groups, label_count, settings, seed, folds)
    temperature = fit_temperature(head.out_of_fold_logits, labels)
    probabilities = calibrated(head.out_of_fold_logits, temperature)
    scores = out_of_fold_scores(embeddings, labels, folds, label_count)
    unknown = fit_unknown(embeddings, labels, folds, label_count)
    repeats = sum(len(test) for _, test in folds) // len(labels)
    measured = metrics(probabilities, labels, inspected.labels)
    numbers = fold_numbers(folds, len(labels))
    return Fitted(head, temperature, unknown, measured, probabilities, scores, len(folds) // repeats, repeats, numbers)
