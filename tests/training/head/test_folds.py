"""Every photo is tested once per repeat, by a head that saw neither it nor its near-duplicates."""

import numpy as np
import pytest
from handful.service.artifact.errors import DataError
from handful.training.head.folds import Folds


def alone(count: int) -> np.ndarray:
    return np.arange(count)


def test_five_folds_test_every_photo_once() -> None:
    labels = np.repeat([0, 1], 80)
    folds = Folds.make(labels, alone(160), seed=0)
    assert (folds.count, folds.repeats) == (5, 1)
    assert np.array_equal(np.sort(np.concatenate([test for _, test, _ in folds])), np.arange(160))
    assert all(not np.intersect1d(train, test).size for train, test, _ in folds)
    assert all(np.array_equal(np.bincount(labels[test]), [16, 16]) for _, test, _ in folds)


def test_under_a_hundred_photos_are_divided_three_times_differently() -> None:
    folds = Folds.make(np.repeat([0, 1], 20), alone(40), seed=0)
    assert (folds.count, folds.repeats) == (5, 3)
    assert [fold.repeat for fold in folds] == [0] * 5 + [1] * 5 + [2] * 5
    assert not np.array_equal(folds.numbers[:, 0], folds.numbers[:, 1])


def test_near_duplicates_stay_together() -> None:
    groups = np.repeat(np.arange(30), 4)
    for train, test, _ in Folds.make(np.repeat([0, 1], 60), groups, seed=1):
        assert not np.intersect1d(groups[train], groups[test]).size


def test_duplicates_with_contradicting_labels_stay_together() -> None:
    labels, groups = np.array([0, 1] * 10), np.repeat(np.arange(10), 2)
    for train, test, _ in Folds.make(labels, groups, seed=1):
        assert not np.intersect1d(groups[train], groups[test]).size


def test_a_label_of_two_photos_is_in_every_training_part() -> None:
    labels = np.array([0] * 50 + [1] * 2)
    assert all(1 in labels[train] for train, _, _ in Folds.make(labels, alone(52), seed=0))


def test_a_label_of_five_photos_is_in_every_test_part() -> None:
    labels = np.repeat(np.arange(20), 5)
    assert all(set(labels[test]) == set(range(20)) for _, test, _ in Folds.make(labels, alone(100), seed=0))


def test_the_same_seed_gives_the_same_folds() -> None:
    labels = np.repeat([0, 1], 60)
    first, again, other = (Folds.make(labels, alone(120), seed) for seed in (3, 3, 4))
    assert np.array_equal(first.numbers, again.numbers)
    assert not np.array_equal(first.numbers, other.numbers)


def test_copies_of_one_photo_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="1 distinct image"):
        Folds.make(np.array([0, 1, 0]), np.zeros(3, dtype=np.int64), seed=0)


def test_photos_that_had_folds_before_keep_their_folds_and_new_ones_even_them_out() -> None:
    labels, groups = np.repeat([0, 1], 80), alone(160)
    before = Folds.make(labels, groups, seed=0).numbers
    more = np.concatenate([labels, np.repeat([0, 1, 2], 10)])
    folds = Folds.make(more, alone(190), seed=0, kept=before)
    assert np.array_equal(folds.numbers[:160], before)
    assert all(np.array_equal(np.bincount(more[test]), [18, 18, 2]) for _, test, _ in folds)


def test_a_near_duplicate_of_a_photo_that_had_a_fold_before_joins_it() -> None:
    labels, groups = np.repeat([0, 1], 60), alone(120)
    before = Folds.make(labels, groups, seed=0).numbers
    grown = Folds.make(np.append(labels, 0), np.append(groups, 7), seed=0, kept=before).numbers
    assert np.array_equal(grown[120], before[7])


def test_a_single_fold_learns_from_all_photos_that_it_does_not_test() -> None:
    [fold] = Folds.single(np.array([1, 3]), 5)
    assert fold.test.tolist() == [1, 3]
    assert fold.train.tolist() == [0, 2, 4]


def test_the_folds_of_the_first_photos_have_no_empty_test_part() -> None:
    folds = Folds(np.array([[0], [1], [0], [2]], dtype=np.uint8)).first_images(3)
    assert [fold.test.tolist() for fold in folds] == [[0, 2], [1]]


def test_a_part_of_the_folds_tests_what_it_tests_in_all_and_learns_from_the_rest() -> None:
    folds = Folds.make(np.arange(40) % 4, np.arange(40), seed=0)
    part = list(folds.first_folds(2))
    assert len(part) == 2 * folds.repeats
    whole = [fold for repeat in range(folds.repeats) for fold in [f for f in folds if f.repeat == repeat][:2]]
    for ours, theirs in zip(part, whole, strict=True):
        assert np.array_equal(ours.test, theirs.test)
        assert np.array_equal(ours.train, theirs.train)


def test_the_first_and_the_later_folds_test_every_photo_once() -> None:
    folds = Folds.make(np.arange(200) % 4, np.arange(200), seed=0)
    first, later = folds.first_folds(2), folds.later_folds(2)
    assert sorted([*first.tested, *later.tested]) == list(range(200))
    for ours, theirs in zip([*first, *later], folds, strict=True):
        assert np.array_equal(ours.test, theirs.test)
        assert np.array_equal(ours.train, theirs.train)
