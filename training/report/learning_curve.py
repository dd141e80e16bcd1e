"""Would more photos help? The linear head's accuracy against the number of photos per label.

Every point is cross-validated, with near-duplicates in one fold and the strength that was chosen for the head. It is a
picture for a report, not a measurement to publish: large folders are sampled, and very large ones get no curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.artifact.verdict import Trend
from handful.service.compute.device import thread_pools
from handful.training.head.fit import Fitted
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings, Labels
from handful.training.head.linear import LinearFits, LinearProblem
from handful.training.photos.inspection import Inspected
from numpy.typing import NDArray

DRAWS = 3  # divisions into folds, each with its own choice of photos
LARGE_DRAWS = 1
MAX_SIZES = 5
MIN_PER_LABEL = 4  # a curve needs at least 2 and 4
MAX_IMAGES = 1200  # finding the space that they span costs the cube of their number
SMALL_FIT = 1_000_000  # images x labels x dimensions; one fit takes a few milliseconds
LITTLE = 0.02  # gain of accuracy
MAX_FIT = 20_000_000  # the same; with it the whole curve takes a second or two


@dataclass(frozen=True)
class LearningCurve:
    """`accuracy` (S, draws) at `sizes` (S,) photos per label, ascending; with the gain of the last doubling."""

    sizes: tuple[int, ...]
    accuracy: NDArray[np.float64]
    gain: float
    gain_error: float  # standard error over the photos
    images: int  # it was measured on
    thinned: bool  # whether that is fewer than there are

    @property
    def trend(self) -> Trend:
        """Whether the last doubling helped; it promises no more than two standard errors allow."""
        if self.gain > 2 * self.gain_error:
            return "rising"
        return "flat" if self.gain + 2 * self.gain_error < LITTLE else "unclear"

    @property
    def sentence(self) -> str:
        """Whether more photos would help, for a person."""
        before, after = self.sizes[-2:]
        change = f"from {before} to {after} photos per label it changed by {100 * self.gain:+.1f} percentage points"
        noise = f"(standard error {100 * self.gain_error:.1f})"
        if self.trend == "rising":
            return f"Probably yes: the accuracy was still rising; {change} {noise}."
        if self.trend == "flat":
            return f"Probably little, if they are like these: {change} {noise}. Photos of another style may still help."
        return f"These photos are too few to tell: {change} {noise}, which may be chance."


def curve_of(inspected: Inspected, fitted: Fitted, seed: int) -> LearningCurve | None:
    """With the settings that were chosen for the linear head; a hidden head has none of them."""
    chosen = fitted.head.settings
    strength, means = float(chosen.get("strength", 3.0)), float(chosen.get("means", 50.0))
    return learning_curve(LabelledEmbeddings.of(inspected), strength, seed, means)


def learning_curve(data: LabelledEmbeddings, strength: float, seed: int, means: float = 50.0) -> LearningCurve | None:
    """None where there are too few photos per label for a curve, or so many labels that it would take too long."""
    random = np.random.default_rng(seed)
    kept = _within_bounds(data.labels, data.embeddings.shape[1], random)
    if len(kept) == 0:
        return None
    used = data.take(kept)
    with thread_pools().limit(limits=1):  # the same sums on every machine, and nothing here is large
        problem = LinearProblem.of(used)
        work = len(used) * (problem.inputs.shape[1] - 1) * data.label_count
        draws = [
            Folds.make(used.labels, used.groups, seed + draw).first_repeat()
            for draw in range(DRAWS if work <= SMALL_FIT else LARGE_DRAWS)
        ]
        sizes = _sizes(used.labels, draws)
        if len(sizes) < 2:
            return None
        right = np.stack([_right(problem, folds, sizes, (strength, means), random) for folds in draws])
    gained = (right[:, -1] - right[:, -2].astype(float)).mean(axis=0)  # (N,)
    return LearningCurve(
        sizes=sizes,
        accuracy=right.mean(axis=2).T,
        gain=float(gained.mean()),
        gain_error=float(gained.std() / np.sqrt(len(gained))),
        images=len(kept),
        thinned=len(kept) < len(data),
    )


def _within_bounds(labels: Labels, dimensions: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Images to learn from: all, or as many of each label as the time allows; none where that is too few."""
    images_per_label = np.bincount(labels)
    most = int(images_per_label.max())
    rank = rank_within_label(labels, random.permutation(len(labels)))
    for cap in range(most, MIN_PER_LABEL - 1, -max(1, most // 100)):
        images = int(np.minimum(images_per_label, cap).sum())
        fits = images * len(images_per_label) * min(images, dimensions) <= MAX_FIT
        if fits and images <= MAX_IMAGES:
            return np.flatnonzero(rank < cap)
    return np.empty(0, dtype=np.intp)


def rank_within_label(labels: Labels, order: NDArray[np.intp]) -> NDArray[np.intp]:
    """(N,) how many images of the same label come earlier in the order."""
    by_label = order[np.argsort(labels[order], kind="stable")]
    first = np.searchsorted(labels[by_label], labels[by_label])
    rank = np.empty(len(labels), dtype=np.intp)
    rank[by_label] = np.arange(len(labels)) - first
    return rank


def _sizes(labels: Labels, draws: list[Folds]) -> tuple[int, ...]:
    """Photos per label, halved down from the most that every training part has of its largest label."""
    size = min(int(np.bincount(labels[fold.train]).max()) for folds in draws for fold in folds)
    sizes: list[int] = []
    while size >= 2 and len(sizes) < MAX_SIZES:
        sizes.append(size)
        size //= 2
    return tuple(reversed(sizes))


def _right(
    problem: LinearProblem,
    folds: Folds,
    sizes: tuple[int, ...],
    chosen: tuple[float, float],
    random: np.random.Generator,
) -> NDArray[np.bool_]:
    """(S, N) whether each image was labelled right by a head that learned from at most so many photos per label."""
    data, (strength, means) = problem.data, chosen
    right = np.zeros((len(sizes), len(data)), dtype=bool)
    for fold in folds:
        rank = rank_within_label(data.labels[fold.train], random.permutation(len(fold.train)))
        for row, size in enumerate(sizes):
            head = LinearFits(problem, fold.train[rank < size]).fit(strength).head(means)
            right[row, fold.test] = head.logits(data.embeddings[fold.test]).argmax(axis=1) == data.labels[fold.test]
    return right
