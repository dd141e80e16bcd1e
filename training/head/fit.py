"""Labelled embeddings -> everything that is learned from them, each part tested on photos that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings, Rows
from handful.training.head.selection import HeadSettings, SelectedHead, fit_head
from handful.training.head.unknown import fit_unknown, out_of_fold_scores
from handful.training.metrics import Metrics, metrics
from handful.training.photos.inspection import Inspected

CORRECTION_WEIGHTS = (4.0, 16.0, 64.0)  # photos that a correction counts as, where one is not enough


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


def fit(inspected: Inspected, settings: HeadSettings, seed: int, corrections: Rows | None = None) -> Fitted:
    """Head, temperature and unknown detector use the same folds. The photos in `corrections` must be answered rightly
    where that costs nothing on the others.
    """
    data = LabelledEmbeddings.of(inspected)
    folds = Folds.make(data.labels, data.groups, seed, inspected.folds)
    head = fit_head(data, folds, settings, seed)
    if corrections is not None and len(corrections):
        head = _with_corrections(head, data, folds, corrections, seed)
    temperature = fit_temperature(head.out_of_fold_logits, data.labels)
    probabilities = calibrated(head.out_of_fold_logits, temperature)
    scores = out_of_fold_scores(data, folds)
    measured = metrics(probabilities, data.labels, inspected.labels)
    return Fitted(head, temperature, fit_unknown(data, scores), measured, probabilities, scores, folds)


def _with_corrections(
    head: SelectedHead, data: LabelledEmbeddings, folds: Folds, corrections: Rows, seed: int
) -> SelectedHead:
    """The head with the least weight on the corrections by which the most of them are learned.

    A weight counts only if out of fold no more of the other photos are answered wrongly than without it.
    """
    others = np.setdiff1d(np.arange(len(data)), corrections)

    def learned(each: SelectedHead) -> int:
        return int((each.logits(data.embeddings[corrections]).argmax(axis=1) == data.labels[corrections]).sum())

    def right(each: SelectedHead) -> int:
        return int((each.out_of_fold_logits[others].argmax(axis=1) == data.labels[others]).sum())

    best, before = head, right(head)
    wrong = corrections[head.logits(data.embeddings[corrections]).argmax(axis=1) != data.labels[corrections]]
    for weight in CORRECTION_WEIGHTS:
        if learned(best) == len(corrections):
            break
        weighted = data.weighted(wrong, weight)
        tried = head.again(weighted, folds, seed)
        if right(tried) >= before and learned(tried) > learned(best):
            best = tried
    return best
