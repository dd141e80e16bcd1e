"""How a handful of photos is divided so that every photo is judged by a head that never saw it.

Near-duplicates of one photo (a group) stay in one fold, or a head would be judged on what it memorised. scikit-learn's
StratifiedGroupKFold is not used: it gives up below one photo a fold and label, and does not promise that a label with
two photos is in every training part; dealing the rarest label first does both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from handful.service.artifact.errors import DataError
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]

FOLD_COUNT = 5
REPEAT_COUNT = 3
REPEAT_BELOW_IMAGES = 100


def make_folds(labels: Labels, groups: Labels, seed: int, kept: NDArray[np.integer] | None = None) -> list[Fold]:
    """(train, test) indices; within one repeat the test parts cover every image exactly once.

    Five folds, fewer only where there are fewer groups; three repeats under 100 images, where one division is luck.
    `kept` (K, R) are the fold numbers that the first K images had before: they keep them, unless there were fewer
    folds then, or a new photo joins two of them.
    """
    group_count = len(np.unique(groups))
    if group_count < 2:
        raise DataError(f"got {group_count} distinct image(s); at least 2 are needed to judge a head")
    repeats = REPEAT_COUNT if len(labels) < REPEAT_BELOW_IMAGES else 1
    random = np.random.default_rng(seed)
    fold_count = min(FOLD_COUNT, group_count)
    before = _before(kept, len(labels), fold_count, repeats)
    return [fold for column in before.T for fold in _one_repeat(labels, groups, fold_count, column, random)]


def fold_numbers(folds: list[Fold], images: int) -> NDArray[np.uint8]:
    """(N, R): what `make_folds` takes as `kept`."""
    repeats = sum(len(test) for _, test in folds) // images
    numbers = np.zeros((images, repeats), dtype=np.uint8)
    for number, (_, test) in enumerate(folds):
        repeat, fold = divmod(number, len(folds) // repeats)
        numbers[test, repeat] = fold
    return numbers


def _before(kept: NDArray[np.integer] | None, images: int, fold_count: int, repeats: int) -> NDArray[np.intp]:
    """(N, R) fold numbers; -1 for an image that is still to be dealt."""
    before = np.full((images, repeats), -1, dtype=np.intp)
    if kept is not None and kept.size and kept.max() + 1 == fold_count:
        columns = min(repeats, kept.shape[1])
        before[: len(kept), :columns] = kept[:, :columns]
    return before


def _one_repeat(
    labels: Labels, groups: Labels, fold_count: int, before: NDArray[np.intp], random: np.random.Generator
) -> Iterator[Fold]:
    _, first, group_of_image = np.unique(groups, return_index=True, return_inverse=True)
    dealt = _deal(labels, group_of_image, fold_count, before[first], random)
    fold_of_image = dealt[group_of_image]
    for fold in range(fold_count):
        yield np.flatnonzero(fold_of_image != fold), np.flatnonzero(fold_of_image == fold)


def _deal(
    labels: Labels,
    group_of_image: NDArray[np.intp],
    fold_count: int,
    before: NDArray[np.intp],
    random: np.random.Generator,
) -> NDArray[np.intp]:
    """Each group's fold (G,): rarest label first, always to the fold with least of that label, then least of all.

    A group with several labels counts as its rarest one, whose even spread is the hardest to have. One that has a
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
