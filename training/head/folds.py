"""How a handful of photos is divided so that a head never answers for a photo that it learned from.

Near-duplicates of one photo (a group) stay in one fold; otherwise a head would be tested on what it memorised.
scikit-learn's StratifiedGroupKFold is not used: it fails with fewer photos of a label than folds, and does not promise
that a label with two photos is in every training part. Assigning the rarest label first gives both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from handful.service.artifact.errors import DataError
from handful.training.head.labelled import Labels, Rows
from numpy.typing import NDArray

FOLD_COUNT = 5
REPEAT_COUNT = 3
REPEAT_BELOW_IMAGES = 100
UNTESTED = 255  # the fold number of a photo that no fold tests


class Fold(NamedTuple):
    """The photos to learn from and the photos to test, by their row."""

    train: Rows
    test: Rows
    repeat: int


@dataclass(frozen=True)
class Folds:
    """`numbers` (N, R): the fold that tests each photo, once per repeat. Iterating gives every `Fold` in order."""

    numbers: NDArray[np.uint8]

    @classmethod
    def make(cls, labels: Labels, groups: Labels, seed: int, kept: NDArray[np.integer] | None = None) -> Folds:
        """Five folds, fewer only where there are fewer groups; three repeats under 100 photos, to average out luck.

        `kept` (K, R) are the fold numbers that the first K photos had before. They keep them, unless the number of
        folds has changed or a new photo joins two of their groups. `DataError` with fewer than two groups.
        """
        group_count = len(np.unique(groups))
        if group_count < 2:
            raise DataError(f"got {group_count} distinct image(s); at least 2 are needed to test a head")
        repeats = REPEAT_COUNT if len(labels) < REPEAT_BELOW_IMAGES else 1
        random = np.random.default_rng(seed)
        fold_count = min(FOLD_COUNT, group_count)
        before = _before(kept, len(labels), fold_count, repeats)
        columns = [_one_repeat(labels, groups, fold_count, column, random) for column in before.T]
        return cls(np.stack(columns, axis=1).astype(np.uint8))

    @classmethod
    def single(cls, test: Rows, images: int) -> Folds:
        """One fold: `test` is tested, and all other photos are learned from."""
        numbers = np.full((images, 1), UNTESTED, dtype=np.uint8)
        numbers[test] = 0
        return cls(numbers)

    @property
    def count(self) -> int:
        """Folds per repeat."""
        return int(self.numbers[self.numbers != UNTESTED].max()) + 1

    @property
    def repeats(self) -> int:
        return int(self.numbers.shape[1])

    @property
    def tested(self) -> Rows:
        """Of the photos that a fold tests."""
        return np.flatnonzero((self.numbers != UNTESTED).any(axis=1))

    def first_repeat(self) -> Folds:
        return Folds(self.numbers[:, :1])

    def first_folds(self, count: int) -> Folds:
        """Only the first `count` of each repeat are tested; the photos of the others are learned from."""
        return Folds(np.where(self.numbers < count, self.numbers, UNTESTED).astype(np.uint8))

    def later_folds(self, count: int) -> Folds:
        """Only the others are tested."""
        return Folds(np.where(self.numbers < count, UNTESTED, self.numbers).astype(np.uint8))

    def first_images(self, count: int) -> Folds:
        """The same folds without the photos after the first `count`."""
        return Folds(self.numbers[:count])

    def __iter__(self) -> Iterator[Fold]:
        for repeat, column in enumerate(self.numbers.T):
            for number in np.unique(column[column != UNTESTED]):
                yield Fold(np.flatnonzero(column != number), np.flatnonzero(column == number), repeat)


def _before(kept: NDArray[np.integer] | None, images: int, fold_count: int, repeats: int) -> NDArray[np.intp]:
    """(N, R) fold numbers; -1 for a photo that has none yet."""
    before = np.full((images, repeats), -1, dtype=np.intp)
    if kept is not None and kept.size and kept.max() + 1 == fold_count:
        columns = min(repeats, kept.shape[1])
        before[: len(kept), :columns] = kept[:, :columns]
    return before


def _one_repeat(
    labels: Labels, groups: Labels, fold_count: int, before: NDArray[np.intp], random: np.random.Generator
) -> NDArray[np.intp]:
    """(N,) fold numbers"""
    _, first, group_of_image = np.unique(groups, return_index=True, return_inverse=True)
    return _assign(labels, group_of_image, fold_count, before[first], random)[group_of_image]


def _assign(
    labels: Labels,
    group_of_image: NDArray[np.intp],
    fold_count: int,
    before: NDArray[np.intp],
    random: np.random.Generator,
) -> NDArray[np.intp]:
    """(G,) the fold of each group: rarest label first, always to the fold with the fewest photos of that label, and
    among these to the one with the fewest photos.

    A group with several labels counts as its rarest one, which is the hardest to spread evenly. A group that has a
    fold in `before` (G,) stays there.
    """
    images_per_label = np.bincount(labels)
    rarest_first = np.lexsort((labels, images_per_label[labels], group_of_image))
    groups_present, first = np.unique(group_of_image[rarest_first], return_index=True)
    label_of_group = labels[rarest_first][first]  # (G,)
    images_per_group = np.bincount(group_of_image)  # (G,)
    order = random.permutation(len(groups_present))
    order = order[np.lexsort((label_of_group[order], images_per_label[label_of_group[order]]))]
    total_per_fold = np.zeros(fold_count, dtype=np.int64)
    of_label_per_fold = np.zeros((len(images_per_label), fold_count), dtype=np.int64)
    fold_of_group = np.zeros(len(groups_present), dtype=np.intp)
    for group in order[np.argsort(before[order] < 0, kind="stable")]:
        of_label = of_label_per_fold[label_of_group[group]]
        fold = before[group] if before[group] >= 0 else np.lexsort((total_per_fold, of_label))[0]
        fold_of_group[group] = fold
        of_label[fold] += images_per_group[group]
        total_per_fold[fold] += images_per_group[group]
    return fold_of_group
