"""Where to draw the line between a label and *unknown*.

Three distances say where it may lie.

1. How far from the label means is a photo that was held out? The 2 % that are farthest may be taken for unknown. But
   the training photos cannot tell how far photos of another camera are.
2. How far are pictures that show nothing (`generic.py`)? That depends on the backbone and on how narrow the labels are,
   as does the distance of photos of other things. The line is drawn at 0.77 of it: with two networks, each trained on
   shop pictures and on photos, there about 95 % of other things are refused and few photos of another camera.
3. How far from the other labels' means is a photo when its whole label is held out, so that it is a stranger? Labels of
   one style, as small grey pictures, lie much nearer to each other than to anything else; 85 % must be refused.

The line is never nearer than the first answer allows, and at most twice as far from a typical photo as that.

With photos of no label (`other/`) these say where strangers begin: two deviations below their mean score, each photo
scored by the mean of the rest. What resembles neither these nor the labels has its own line, 0.82 of the distance of
the generated pictures: a score counts at least as much likeness to `other/` as puts the two lines at one place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.artifact.unknown import OTHER_WEIGHT, UnknownDetector
from handful.training.head.folds import Folds
from handful.training.head.labelled import Floats, LabelledEmbeddings, Labels
from numpy.typing import NDArray

REFUSED_IN_SET = 0.02
OF_GENERIC = 0.77  # of the mean distance of the generic pictures; see training/LOG.md
OF_GENERIC_WHEN_TAUGHT = 0.82  # the same for what does not resemble the photos of no label
REFUSED_STRANGERS = 0.85  # of the photos whose label is held out
REFUSED_WITHOUT_GENERIC = 0.92  # of the same, where nothing else tells how far strangers are
REFUSED_WHEN_TAUGHT = 0.75  # the same where photos of no label tell more
MIN_OTHER = 5  # photos of no label that differ; fewer have no spread
OTHER_DEVIATIONS = 2.1  # below their mean, or below their median where one odd photo widens the spread
TOWARDS_OTHER = 0.9  # of the way from the farthest known photos to the nearest photos of no label

BLOCK = 4096  # photos compared with all labels at once
OUTLIER_DEVIATIONS = 3  # otherwise one odd photo among twenty would be the 98th percentile, and nothing be refused


def refused_by_others(known: Floats, folds: Folds) -> NDArray[np.bool_]:
    """(N,) whether each photo of a single label is refused, at a threshold from the scores (N,) of the other folds.

    The threshold of the model is set so that about 2 % are refused; to count them there would measure nothing.
    """
    refused = np.zeros(len(known), dtype=bool)
    for fold in folds.first_repeat():
        _, nearest = _typical_and_nearest(known[fold.train])
        refused[fold.test] = known[fold.test] > nearest
    return refused


@dataclass(frozen=True)
class Strangers:
    """Embeddings of no label: `generic` (G, D) of generated pictures, `other` (M, D) of photos that a person gave.

    Near-duplicates in `other` share a number in `groups` (M,).
    """

    generic: Floats
    other: Floats
    groups: Labels

    @classmethod
    def none(cls, width: int) -> Strangers:
        nothing = np.empty((0, width), np.float32)
        return cls(nothing, nothing, np.empty(0, np.int64))

    @property
    def teach(self) -> bool:
        """Whether the photos are enough to learn from."""
        return len(np.unique(self.groups)) >= MIN_OTHER


@dataclass(frozen=True)
class FittedUnknown:
    """A detector, and its scores of photos that it had not seen.

    `known` (N,) of the labels' photos, NaN where the whole label was held out; `left_out` (N,) of the same photos
    without their label, infinite where there is no other; `other` (M,) of the photos of no label.
    """

    detector: UnknownDetector
    known: Floats
    left_out: Floats
    other: Floats


def fit_unknown(data: LabelledEmbeddings, known: Floats, strangers: Strangers | None = None) -> FittedUnknown:
    """With the means of every photo; `known` (N,) are their out-of-fold distances."""
    return detector_of(data, known, _stranger_scores(_label_means(data), data), strangers)


def detector_of(
    data: LabelledEmbeddings, known: Floats, left_out: Floats, strangers: Strangers | None = None
) -> FittedUnknown:
    """The same from both distances (N,), as `fold_scores` measures them."""
    strangers = strangers or Strangers.none(data.embeddings.shape[1])
    means, generic, other = _label_means(data), strangers.generic, strangers.other
    plain = UnknownDetector.of(means, 0.0)
    if not strangers.teach:
        measured = known[np.isfinite(known)]
        threshold = _threshold(measured, left_out, plain.score(generic) if len(generic) else None)
        return FittedUnknown(UnknownDetector.of(means, threshold), known, left_out, plain.score(other))
    units = other / np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-12)
    alike = UnknownDetector.of(means, 0.0, units.mean(axis=0), other_least=-1.0)  # never less than that
    of_known, of_left_out = (alike.scores_of(each, data.embeddings) for each in (known, left_out))
    threshold = _taught_threshold(
        of_known[np.isfinite(of_known)], of_left_out, _other_scores(alike, units, strangers.groups)
    )
    least = -1.0
    if len(generic):
        far = OF_GENERIC_WHEN_TAUGHT * float(plain.score(generic).mean())
        measured = known[np.isfinite(known)]
        least = threshold - (max(far, _typical_and_nearest(measured)[1]) if len(measured) else far)
    taught = UnknownDetector.of(means, threshold, units.mean(axis=0), least)
    of_known, of_left_out = (taught.scores_of(each, data.embeddings) for each in (known, left_out))
    return FittedUnknown(taught, of_known, of_left_out, _other_scores(taught, units, strangers.groups))


def _other_scores(detector: UnknownDetector, units: Floats, groups: Labels) -> Floats:
    """(M,) of photos of no label (M, D) at length 1, each by the mean of those that are no near-duplicates of it."""
    _, group = np.unique(groups, return_inverse=True)
    sums = np.zeros((group.max() + 1, units.shape[1]), dtype=np.float64)
    np.add.at(sums, group, units)
    rest = units.sum(axis=0, dtype=np.float64) - sums[group]  # (M, D)
    likeness = (units * rest).sum(axis=1) / np.maximum(np.linalg.norm(rest, axis=1), 1e-12)
    distances = UnknownDetector(detector.directions, 0.0).score(units)
    return np.asarray(distances + np.maximum(OTHER_WEIGHT * likeness, detector.other_least), dtype=np.float32)


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


def _threshold(known: Floats, left_out: Floats, generic: Floats | None) -> float:
    farthest = _refusing(left_out, REFUSED_WITHOUT_GENERIC if generic is None else REFUSED_STRANGERS)
    if generic is not None:
        farthest = min(farthest, OF_GENERIC * float(generic.mean()))
    if len(known) == 0:  # one group per label: a photo was always held out together with its label
        return min(farthest, 1.0)
    typical, nearest = _typical_and_nearest(known)
    if not np.isfinite(left_out).any():  # one label: to refuse other things is what it is for
        return nearest
    return float(np.clip(farthest, nearest, nearest + (nearest - typical)))


def _taught_threshold(known: Floats, left_out: Floats, other: Floats) -> float:
    median, usual = np.quantile(other, [0.5, 0.16])
    begin = float(max(other.mean() - OTHER_DEVIATIONS * other.std(), median - OTHER_DEVIATIONS * (median - usual)))
    farthest = _refusing(left_out, REFUSED_WHEN_TAUGHT)
    if len(known) == 0:
        return min(begin, farthest)
    _, nearest = _typical_and_nearest(known)
    return max(nearest, min(nearest + TOWARDS_OTHER * (begin - nearest), farthest))


def _refusing(left_out: Floats, share: float) -> float:
    """The line that refuses this share of the photos whose label is held out; infinite where no other label is."""
    return float(np.quantile(left_out, 1 - share)) if np.isfinite(left_out).any() else np.inf


def _typical_and_nearest(known: Floats) -> tuple[float, float]:
    """The score of a typical photo, and the nearest line, which refuses only the farthest photos."""
    typical, usual, nearest = map(float, np.quantile(known, [0.5, 0.84, 1 - REFUSED_IN_SET]))
    return typical, min(nearest, typical + OUTLIER_DEVIATIONS * (usual - typical))


def _label_means(data: LabelledEmbeddings) -> Floats:
    """(L, D); zeros for a label without a photo, which no photo is near then."""
    by_label = np.argsort(data.labels, kind="stable")
    present, first, images = np.unique(data.labels[by_label], return_index=True, return_counts=True)
    means = np.zeros((data.label_count, data.embeddings.shape[1]), dtype=np.float32)
    means[present] = np.add.reduceat(data.embeddings[by_label], first, axis=0, dtype=np.float64) / images[:, None]
    return means
