"""Which photos are near-duplicates, and which groups they make."""

from __future__ import annotations

import numpy as np
from handful.training.head.folds import Folds
from handful.training.photos.duplicates import group_numbers, near_duplicates


def test_near_duplicates_are_outliers_among_neighbours() -> None:
    rows = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
    rows[40] = rows[7] + 0.1 * rows[8]
    assert [(first, second) for first, second, _ in near_duplicates(rows, np.zeros(60, int))] == [(7, 40)]


def test_pairs_join_into_groups_that_are_numbered_by_their_first_rows() -> None:
    groups = group_numbers([(0, 1), (2, 3), (1, 4)], 6)
    assert groups.tolist() == [0, 0, 1, 1, 0, 2]
    assert group_numbers([], 3).tolist() == [0, 1, 2]


def test_folds_do_not_depend_on_how_groups_are_numbered() -> None:
    pairs = [(0, 3), (3, 9), (1, 14), (7, 8)]
    groups = group_numbers(pairs, 30)
    first_row = np.array([np.flatnonzero(groups == group)[0] for group in groups])
    labels = np.arange(30) % 2
    np.testing.assert_array_equal(Folds.make(labels, groups, 0).numbers, Folds.make(labels, first_row, 0).numbers)
