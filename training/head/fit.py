"""Labelled embeddings -> everything that is learned from them, each part tested on photos that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.selection import HeadSettings, SelectedHead, fit_head
from handful.training.head.unknown import fit_unknown, out_of_fold_scores, refused_by_others
from handful.training.metrics import Metrics, metrics, recognition_metrics
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
    refused_by_others: np.ndarray | None = None  # (N,) bool, of a single label

    @property
    def refused(self) -> np.ndarray:
        """(N,) bool: a photo of a known label that is taken for unknown."""
        if self.refused_by_others is not None:
            return self.refused_by_others
        return np.asarray(self.unknown_scores > self.unknown.threshold)


def fit(inspected: Inspected, settings: HeadSettings, seed: int) -> Fitted:
    """Head, temperature and unknown detector use the same folds."""
    data = LabelledEmbeddings.of(inspected)
    folds = Folds.make(data.labels, data.groups, seed, inspected.folds)
    if data.label_count == 1:
        return _fit_one_label(data, folds, settings, seed)
    head = fit_head(data, folds, settings, seed)
    temperature = fit_temperature(head.out_of_fold_logits, data.labels)
    probabilities = calibrated(head.out_of_fold_logits, temperature)
    scores = out_of_fold_scores(data, folds)
    measured = metrics(probabilities, data.labels, inspected.labels, data.groups)
    return Fitted(head, temperature, fit_unknown(data, scores), measured, probabilities, scores, folds)


def _fit_one_label(data: LabelledEmbeddings, folds: Folds, settings: HeadSettings, seed: int) -> Fitted:
    """The answer is this label or unknown; what is measured is how many of its own photos are recognised."""
    scores = out_of_fold_scores(data, folds)
    refused = refused_by_others(scores, folds)
    measured = recognition_metrics(refused, data.groups)
    certain = np.ones((len(data), 1))
    head = fit_head(data, folds, settings, seed)
    return Fitted(head, 1.0, fit_unknown(data, scores), measured, certain, scores, folds, refused)
