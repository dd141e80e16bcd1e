"""Where to draw the line between a label and *unknown*, learned from the training photos alone.

Two questions are asked of them. How far from the label means is a photo that was held out of them (2 % of these are
given up)? And how far is a photo from the means when its whole label is held out, so that it truly is a stranger?
Photos of another style lie between the two, so the line is drawn as far out as still refuses 92 % of the strangers,
but never nearer than the first answer and at most twice as far from a typical photo as that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.artifact.unknown import UnknownDetector
from training.folds import Fold, Labels

REFUSED_IN_SET = 0.02
REFUSED_STRANGERS = 0.92  # 90 % is wanted; photos of a further label are not much harder than those of a known one

OUTLIER_DEVIATIONS = 3  # one odd photo among twenty would otherwise be the 98th percentile, and open the door to all


def fit_unknown(
    embeddings: NDArray[np.float32], labels: Labels, folds: list[Fold], label_count: int
) -> UnknownDetector:
    """A detector with the means of every photo; the folds are those that the head was chosen with."""
    known = out_of_fold_scores(embeddings, labels, folds, label_count)
    threshold = _threshold(
        known[np.isfinite(known)],
        _stranger_scores(embeddings, labels, label_count),
    )
    return UnknownDetector.of(_label_means(embeddings, labels, label_count), threshold)


def out_of_fold_scores(
    embeddings: NDArray[np.float32], labels: Labels, folds: list[Fold], label_count: int
) -> NDArray[np.float32]:
    """(N,) mean over the repeats; NaN for a photo whose whole label was held out with it each time."""
    total, count = np.zeros(len(labels), np.float32), np.zeros(len(labels), np.float32)
    for train, test in folds:
        detector = UnknownDetector.of(_label_means(embeddings[train], labels[train], label_count), 0.0)
        known = test[np.isin(labels[test], labels[train])]
        total[known] += detector.score(embeddings[known])
        count[known] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _stranger_scores(embeddings: NDArray[np.float32], labels: Labels, label_count: int) -> NDArray[np.float32]:
    """(N,) each photo's distance to the nearest mean of another label."""
    means = _label_means(embeddings, labels, label_count)
    scores = np.empty(len(labels), dtype=np.float32)
    for label in range(label_count):
        of_label = labels == label
        scores[of_label] = UnknownDetector.of(np.delete(means, label, axis=0), 0.0).score(embeddings[of_label])
    return scores


def _threshold(known: NDArray[np.float32], strangers: NDArray[np.float32]) -> float:
    if len(known) == 0:  # one group a label: nothing was ever held out
        return float(np.quantile(strangers, 1 - REFUSED_STRANGERS))
    typical, usual, nearest = np.quantile(known, [0.5, 0.84, 1 - REFUSED_IN_SET])
    nearest = min(nearest, typical + OUTLIER_DEVIATIONS * (usual - typical))
    refuses_strangers = np.quantile(strangers, 1 - REFUSED_STRANGERS)
    return float(np.clip(refuses_strangers, nearest, nearest + (nearest - typical)))


def _label_means(embeddings: NDArray[np.float32], labels: Labels, label_count: int) -> NDArray[np.float32]:
    """(L, D); nought for a label without a photo, which then resembles nothing."""
    sums = np.zeros((label_count, embeddings.shape[1]), dtype=np.float64)
    np.add.at(sums, labels, embeddings)
    return (sums / np.maximum(np.bincount(labels, minlength=label_count), 1)[:, None]).astype(np.float32)
