"""Labelled embeddings -> everything that is learned from them, each part tested on photos that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.selection import HeadSettings, SelectedHead, fit_head
from handful.training.head.unknown import fit_unknown, out_of_fold_scores
from handful.training.metrics import Metrics, metrics
from handful.training.photos.inspection import Inspected


@dataclass(frozen=True)
class Fitted:
    """Head, temperature and unknown detector, with their out-of-fold answers."""

    head: SelectedHead
    temperature: float
    unknown: UnknownDetector
    metrics: Metrics
    probabilities: np.ndarray  # (N, L)
    unknown_scores: np.ndarray  # (N,)
    folds: Folds

    @property
    def refused(self) -> np.ndarray:
        """(N,) bool: a photo of a known label that is taken for unknown."""
        return np.asarray(self.unknown_scores > self.unknown.threshold)


def fit(inspected: Inspected, settings: HeadSettings, seed: int) -> Fitted:
    """Head, temperature and unknown detector use the same folds."""
    data = LabelledEmbeddings.of(inspected)
    folds = Folds.make(data.labels, data.groups, seed, inspected.folds)
    head = fit_head(data, folds, settings, seed)
    temperature = fit_temperature(head.out_of_fold_logits, data.labels)
    probabilities = calibrated(head.out_of_fold_logits, temperature)
    scores = out_of_fold_scores(data, folds)
    measured = metrics(probabilities, data.labels, inspected.labels, data.groups)
    return Fitted(head, temperature, fit_unknown(data, scores), measured, probabilities, scores, folds)
