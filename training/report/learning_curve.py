"""Would more photos help? The linear head's accuracy against how many photos a label has.

Every point is cross-validated, near-duplicates kept apart, with the strength that the head was given. It is a picture
for a report, not a measurement to publish: many labels are thinned out, and past a bound it is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.compute.device import thread_pools
from handful.training.head.folds import Fold, Labels, make_folds
from handful.training.head.linear import Basis, Floats, LinearFits
from numpy.typing import NDArray

DRAWS = 3  # divisions into folds, each with its own choice of photos
LARGE_DRAWS = 1
MAX_SIZES = 5
MIN_PER_LABEL = 4  # a curve needs at least 2 and 4
MAX_IMAGES = 1200  # what they span is found by their products with each other, cubic in their number
SMALL_FIT = 1_000_000  # images x labels x dimensions; one fit takes a few milliseconds
MAX_FIT = 20_000_000  # the same; with it the whole curve takes a second or two


@dataclass(frozen=True)
class LearningCurve:
    """`accuracy` (S, draws) at `sizes` (S,) photos a label, ascending; with the gain of the last doubling."""

    sizes: tuple[int, ...]
    accuracy: NDArray[np.float64]
    gain: float
    gain_error: float  # standard error over the photos
    images: int  # that it was measured on
    thinned: bool  # whether that is fewer than there are

    @property
    def verdict(self) -> str:
        """One sentence that promises no more than two standard errors allow."""
        before, after = self.sizes[-2:]
        change = f"from {before} to {after} photos per label it changed by {100 * self.gain:+.1f} percentage points"
        noise = f"(standard error {100 * self.gain_error:.1f})"
        if self.gain > 2 * self.gain_error:
            return f"Probably yes: the accuracy was still rising; {change} {noise}."
        if self.gain + 2 * self.gain_error < 0.02:
            return f"Probably little, if they are like these: {change} {noise}. Photos of another style may still help."
        return f"These photos are too few to tell: {change} {noise}, which may be chance."


def learning_curve(
    embeddings: Floats, labels: Labels, groups: Labels, strength: float, seed: int
) -> LearningCurve | None:
    """None where there are too few photos a label for a curve, or so many labels that it would take too long."""
    random = np.random.default_rng(seed)
    kept = _within_bounds(labels, embeddings.shape[1], random)
    if len(kept) == 0:
        return None
    labels_kept, groups_kept = labels[kept], groups[kept]
    with thread_pools().limit(limits=1):  # the same sums on every machine, and nothing here is big
        coordinates = Basis.of(embeddings[kept]).coordinates(embeddings[kept])
        work = coordinates.size * (int(labels.max()) + 1)
        draws = [
            _one_repeat(make_folds(labels_kept, groups_kept, seed + draw), len(kept))
            for draw in range(DRAWS if work <= SMALL_FIT else LARGE_DRAWS)
        ]
        sizes = _sizes(labels_kept, draws)
        if len(sizes) < 2:
            return None
        right = np.stack([_right(coordinates, labels_kept, folds, sizes, strength, random) for folds in draws])
    gained = (right[:, -1] - right[:, -2].astype(float)).mean(axis=0)  # (N,)
    return LearningCurve(
        sizes=sizes,
        accuracy=right.mean(axis=2).T,
        gain=float(gained.mean()),
        gain_error=float(gained.std() / np.sqrt(len(gained))),
        images=len(kept),
        thinned=len(kept) < len(labels),
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


def _one_repeat(folds: list[Fold], images: int) -> list[Fold]:
    repeats = sum(len(test) for _, test in folds) // images
    return folds[: len(folds) // repeats]


def _sizes(labels: Labels, draws: list[list[Fold]]) -> tuple[int, ...]:
    """Photos a label, halved down from the most that every training part has of its largest label."""
    size = min(int(np.bincount(labels[train]).max()) for folds in draws for train, _ in folds)
    sizes: list[int] = []
    while size >= 2 and len(sizes) < MAX_SIZES:
        sizes.append(size)
        size //= 2
    return tuple(reversed(sizes))


def _right(
    coordinates: Floats,
    labels: Labels,
    folds: list[Fold],
    sizes: tuple[int, ...],
    strength: float,
    random: np.random.Generator,
) -> NDArray[np.bool_]:
    """(S, N) whether each image was labelled right by a head that saw at most so many photos of a label."""
    label_count = int(labels.max()) + 1
    right = np.zeros((len(sizes), len(labels)), dtype=bool)
    for train, test in folds:
        rank = rank_within_label(labels[train], random.permutation(len(train)))
        for row, size in enumerate(sizes):
            part = train[rank < size]
            weight, bias = LinearFits(coordinates[part], labels[part], label_count).fit(strength)
            right[row, test] = (coordinates[test] @ weight.T + bias).argmax(axis=1) == labels[test]
    return right
