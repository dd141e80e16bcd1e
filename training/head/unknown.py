"""Where to draw the line between a label and *unknown*, learned from the training photos alone.

Two distances are measured on them. How far from the label means is a photo that was held out? The 2 % that are farthest
may be taken for unknown. And how far from the other labels' means is a photo when its whole label is held out, so that
it is a stranger? Photos of another style lie between the two, so the line is as far out as it can be while 92 % of the
strangers are still refused, but never nearer than the first answer allows and at most twice as far from a typical photo
as that.
"""

from __future__ import annotations

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from handful.training.head.folds import Folds
from handful.training.head.labelled import Floats, LabelledEmbeddings
from numpy.typing import NDArray

REFUSED_IN_SET = 0.02
REFUSED_STRANGERS = 0.92  # 90 % is wanted; photos of a further label are not much harder than those of a known one

BLOCK = 4096  # photos compared with all labels at once
OUTLIER_DEVIATIONS = 3  # otherwise one odd photo among twenty would be the 98th percentile, and nothing be refused


def refused_by_others(known: Floats, folds: Folds) -> NDArray[np.bool_]:
    """(N,) whether each photo of a single label is refused, at a threshold from the scores (N,) of the other folds.

    The threshold of the model is set so that about 2 % are refused; to count them there would measure nothing.
    """
    refused = np.zeros(len(known), dtype=bool)
    for fold in folds.first_repeat():
        refused[fold.test] = known[fold.test] > _threshold(known[fold.train], np.empty(0, np.float32))
    return refused


def fit_unknown(data: LabelledEmbeddings, known: Floats) -> UnknownDetector:
    """A detector with the means of every photo; `known` (N,) are their out-of-fold scores."""
    return detector_of(data, known, _stranger_scores(_label_means(data), data))


def detector_of(data: LabelledEmbeddings, known: Floats, strangers: Floats) -> UnknownDetector:
    """The same from both scores (N,), as `fold_scores` measures them."""
    others = strangers if data.label_count > 1 else np.empty(0, np.float32)
    threshold = _threshold(known[np.isfinite(known)], others)
    return UnknownDetector.of(_label_means(data), threshold)


def fold_scores(seen: LabelledEmbeddings, held_out: LabelledEmbeddings) -> tuple[Floats, Floats]:
    """Distances of M held-out photos to the means of the seen ones, both (M,).

    To the nearest label, NaN where a photo's own label was held out with it; and to the nearest other label.
    """
    means = _label_means(seen)
    scores = UnknownDetector.of(means, 0.0).score(held_out.embeddings)
    known = np.where(np.isin(held_out.labels, seen.labels), scores, np.nan).astype(np.float32)
    return known, _stranger_scores(means, held_out)


def out_of_fold_scores(data: LabelledEmbeddings, folds: Folds) -> Floats:
    """(N,) mean over the repeats; NaN for a photo whose whole label was held out with it each time."""
    total, count = np.zeros(len(data), np.float32), np.zeros(len(data), np.float32)
    for fold in folds:
        detector = UnknownDetector.of(_label_means(data.take(fold.train)), 0.0)
        known = fold.test[np.isin(data.labels[fold.test], data.labels[fold.train])]
        total[known] += detector.score(data.embeddings[known])
        count[known] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _stranger_scores(means: Floats, data: LabelledEmbeddings) -> Floats:
    """(N,) each photo's distance to the nearest mean of another label."""
    embeddings, labels = data.embeddings, data.labels
    directions = UnknownDetector.of(means, 0.0).directions
    lengths = np.maximum(np.linalg.norm(embeddings, axis=1), 1e-12)  # (N,)
    scores = np.empty(len(labels), dtype=np.float32)
    for start in range(0, len(labels), BLOCK):
        block = slice(start, start + BLOCK)
        cosines = embeddings[block] @ directions.T / lengths[block, None]  # (BLOCK, L)
        cosines[np.arange(len(cosines)), labels[block]] = -np.inf
        scores[block] = 1 - cosines.max(axis=1)
    return scores


def _threshold(known: Floats, strangers: Floats) -> float:
    if len(known) == 0:  # one group per label: a photo was always held out together with its label
        return float(np.quantile(strangers, 1 - REFUSED_STRANGERS))
    typical, usual, nearest = np.quantile(known, [0.5, 0.84, 1 - REFUSED_IN_SET])
    nearest = min(nearest, typical + OUTLIER_DEVIATIONS * (usual - typical))
    if len(strangers) == 0:  # one label: no photo plays the stranger
        return float(nearest)
    refuses_strangers = np.quantile(strangers, 1 - REFUSED_STRANGERS)
    return float(np.clip(refuses_strangers, nearest, nearest + (nearest - typical)))


def _label_means(data: LabelledEmbeddings) -> Floats:
    """(L, D); zeros for a label without a photo, which no photo is near then."""
    by_label = np.argsort(data.labels, kind="stable")
    present, first, images = np.unique(data.labels[by_label], return_index=True, return_counts=True)
    means = np.zeros((data.label_count, data.embeddings.shape[1]), dtype=np.float32)
    means[present] = np.add.reduceat(data.embeddings[by_label], first, axis=0, dtype=np.float64) / images[:, None]
    return means
