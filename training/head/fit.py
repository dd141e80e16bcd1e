"""Labelled embeddings -> everything that is learned from them, each part tested on photos that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings, Rows
from handful.training.head.selection import HeadSettings, SelectedHead, fit_head
from handful.training.head.unknown import FittedUnknown, Strangers, fit_unknown, out_of_fold_scores, refused_by_others
from handful.training.metrics import Metrics, metrics, recognition_metrics
from handful.training.photos.inspection import Inspected

CORRECTION_WEIGHTS = (4.0, 16.0, 64.0)  # photos that a correction counts as, where one is not enough


def _nothing() -> np.ndarray:
    return np.empty(0, np.float32)


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
    left_out_scores: np.ndarray = field(default_factory=_nothing)  # (N,) of photos whose label is left out
    other_scores: np.ndarray = field(default_factory=_nothing)  # (M,) of photos of no label, out of fold
    refused_by_others: np.ndarray | None = None  # (N,) bool, of a single label

    @property
    def refused(self) -> np.ndarray:
        """(N,) bool: a photo of a known label that is taken for unknown."""
        if self.refused_by_others is not None:
            return self.refused_by_others
        return np.asarray(self.unknown_scores > self.unknown.threshold)

    def refused_share(self, scores: np.ndarray) -> float | None:
        """Of photos with these scores (K,); None without any that is finite."""
        measured = scores[np.isfinite(scores)]
        return float((measured > self.unknown.threshold).mean()) if len(measured) else None

    def with_unknown(self, fitted: FittedUnknown) -> Fitted:
        return replace(
            self,
            unknown=fitted.detector,
            unknown_scores=fitted.known,
            left_out_scores=fitted.left_out,
            other_scores=fitted.other,
        )


def fit(inspected: Inspected, settings: HeadSettings, seed: int, corrections: Rows | None = None) -> Fitted:
    """Head, temperature and unknown detector use the same folds. The photos in `corrections` must be answered rightly
    where that costs nothing on the others.
    """
    data = LabelledEmbeddings.of(inspected)
    folds = Folds.make(data.labels, data.groups, seed, inspected.folds)
    if data.label_count == 1:
        return _fit_one_label(data, folds, settings, seed, strangers_of(inspected))
    head = fit_head(data, folds, settings, seed)
    if corrections is not None and len(corrections):
        head = _with_corrections(head, data, folds, corrections, seed)
    temperature = fit_temperature(head.out_of_fold_logits, data.labels)
    probabilities = calibrated(head.out_of_fold_logits, temperature)
    scores = out_of_fold_scores(data, folds)
    measured = metrics(probabilities, data.labels, inspected.labels, data.groups)
    unknown = fit_unknown(data, scores, strangers_of(inspected))
    fitted = Fitted(head, temperature, unknown.detector, measured, probabilities, scores, folds)
    return fitted.with_unknown(unknown)


def strangers_of(inspected: Inspected) -> Strangers:
    """What the unknown detector learns from beside the labels' photos."""
    other = inspected.other_embeddings
    generic = np.empty_like(other[:0]) if inspected.generic is None else inspected.generic
    return Strangers(generic, other, inspected.other_groups)


def _fit_one_label(
    data: LabelledEmbeddings, folds: Folds, settings: HeadSettings, seed: int, strangers: Strangers
) -> Fitted:
    """The answer is this label or unknown; what is measured is how many of its own photos are recognised."""
    unknown = fit_unknown(data, out_of_fold_scores(data, folds), strangers)
    taught = unknown.detector.other is not None  # the line then comes from photos of no label, not from these scores
    refused = unknown.known > unknown.detector.threshold if taught else refused_by_others(unknown.known, folds)
    measured = recognition_metrics(refused, data.groups)
    certain = np.ones((len(data), 1))
    head = fit_head(data, folds, settings, seed)
    fitted = Fitted(head, 1.0, unknown.detector, measured, certain, unknown.known, folds, refused_by_others=refused)
    return fitted.with_unknown(unknown)


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
