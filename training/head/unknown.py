"""Where to draw the line between a label and *unknown*, learned from the training photos alone.

Two questions are asked of them. How far from the label means is a photo that was held out of them (2 % of these are
given up)? And how far is a photo from the means when its whole label is held out, so that it truly is a stranger?
Photos of another style lie between the two, so the line is drawn as far out as still refuses 92 % of the strangers,
but never nearer than the first answer and at most twice as far from a typical photo as that.
"""

from __future__ import annotations

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from handful.training.head.folds import Fold, Labels
from numpy.typing import NDArray

REFUSED_IN_SET = 0.02
REFUSED_STRANGERS = 0.92  # 90 % is wanted; photos of a further label are not much harder than those of a known one

BLOCK = 4096  # photos compared with all labels at once
OUTLIER_DEVIATIONS = 3  # one odd photo among twenty would otherwise be the 98th percentile, and open the door to all


def fit_unknown(
    embeddings: NDArray[np.float32], labels: Labels, folds: list[Fold], label_count: int
) -> UnknownDetector:
    """A detector with the means of every photo; the folds are those that the head was chosen with."""
    known = out_of_fold_scores(embeddings, labels, folds, label_count)
    strangers = _stranger_scores(_label_means(embeddings, labels, label_count), embeddings, labels)
    return detector_of(embeddings, labels, known, strangers, label_count)


def detector_of(
    embeddings: NDArray[np.float32],
    labels: Labels,
    known: NDArray[np.float32],
    strangers: NDArray[np.float32],
    label_count: int,
) -> UnknownDetector:
    """The same from scores that were found before, as `fold_scores` finds them."""
    threshold = _threshold(known[np.isfinite(known)], strangers)
    return UnknownDetector.of(_label_means(embeddings, labels, label_count), threshold)


def fold_scores(
    seen: NDArray[np.float32], seen_labels: Labels, held_out: NDArray[np.float32], labels: Labels, label_count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of held-out photos (M, D), against the means of the others: (M,) to the nearest label, NaN where a photo's own
    was held out with it, and (M,) to the nearest other label.
    """
    means = _label_means(seen, seen_labels, label_count)
    scores = UnknownDetector.of(means, 0.0).score(held_out)
    known = np.where(np.isin(labels, seen_labels), scores, np.nan).astype(np.float32)
    return known, _stranger_scores(means, held_out, labels)


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


def _stranger_scores(
    means: NDArray[np.float32], embeddings: NDArray[np.float32], labels: Labels
) -> NDArray[np.float32]:
    """(N,) each photo's distance to the nearest mean of another label."""
    directions = UnknownDetector.of(means, 0.0).directions
    lengths = np.maximum(np.linalg.norm(embeddings, axis=1), 1e-12)  # (N,)
    scores = np.empty(len(labels), dtype=np.float32)
    for start in range(0, len(labels), BLOCK):
        block = slice(start, start + BLOCK)
        cosines = embeddings[block] @ directions.T / lengths[block, None]  # (BLOCK, L)
        cosines[np.arange(len(cosines)), labels[block]] = -np.inf
        scores[block] = 1 - cosines.max(axis=1)
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
    by_label = np.argsort(labels, kind="stable")
    present, first, images = np.unique(labels[by_label], return_index=True, return_counts=True)
    means = np.zeros((label_count, embeddings.shape[1]), dtype=np.float32)
    means[present] = np.add.reduceat(embeddings[by_label], first, axis=0, dtype=np.float64) / images[:, None]
    return means
