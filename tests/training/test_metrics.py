"""Metrics agree with their definitions, and with absent labels."""

import numpy as np
import pytest
from handful.service.artifact.errors import DataError
from handful.training.metrics import (
    FOLD_VARIANCE,
    effective_images,
    expected_calibration_error,
    interval_of_folds,
    metrics,
    suspected_labels,
    wilson_interval,
)


def sure_of(predicted: list[int], label_count: int, confidence: float = 0.9) -> np.ndarray:
    probabilities = np.full((len(predicted), label_count), (1 - confidence) / (label_count - 1))
    probabilities[np.arange(len(predicted)), predicted] = confidence
    return probabilities


def test_counts_and_rates_of_a_small_case() -> None:
    result = metrics(sure_of([0, 0, 1, 1], 2), np.array([0, 1, 1, 1]), ["bag", "shoe"])
    assert (result.images, result.accuracy, result.confusion) == (4, 0.75, [[1, 0], [1, 2]])
    assert result.macro_f1 == pytest.approx((2 / 3 + 0.8) / 2)
    assert result.log_loss == pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4)
    assert result.ece == pytest.approx(0.15)


def test_a_label_without_an_example_changes_nothing_but_the_confusion() -> None:
    result = metrics(sure_of([0, 0, 1], 3), np.array([0, 0, 1]), ["bag", "shoe", "hat"])
    assert (result.accuracy, result.macro_f1) == (1.0, 1.0)
    assert result.confusion == [[2, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_certain_mistake_costs_a_finite_loss() -> None:
    assert np.isfinite(metrics(sure_of([1], 2, confidence=1.0), np.array([0]), ["bag", "shoe"]).log_loss)


def test_no_photo_is_an_error() -> None:
    with pytest.raises(DataError, match="no labelled photo"):
        metrics(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), ["bag", "shoe"])


def test_probabilities_of_another_label_count_are_an_error() -> None:
    with pytest.raises(DataError, match="3 labels"):
        metrics(sure_of([0], 2), np.array([0]), ["bag", "shoe", "hat"])


def test_wilson_interval_is_open_where_everything_is_right() -> None:
    low, high = wilson_interval(160, 160)
    assert low == pytest.approx(160 / (160 + 1.96**2), abs=1e-4)
    assert high == 1.0


def test_calibration_error_of_full_confidence_and_half_right_is_a_half() -> None:
    assert expected_calibration_error(sure_of([0, 0], 2, confidence=1.0), np.array([0, 1])) == pytest.approx(0.5)


def test_only_confidently_contradicted_labels_are_suspected() -> None:
    probabilities = sure_of([0] * 10 + [1] * 10, 2, confidence=0.95)
    labels = np.array([0] * 10 + [1] * 10)
    probabilities[3] = [0.02, 0.98]
    probabilities[4] = [0.45, 0.55]
    suspected = suspected_labels(probabilities, labels)
    assert [(suspect.index, suspect.given, suspect.suggested) for suspect in suspected] == [(3, 0, 1)]


def test_the_interval_of_folds_is_wider_than_wilsons_and_reaches_certainty() -> None:
    alone = np.arange(40)
    low, high = interval_of_folds(39, alone)
    wilson = wilson_interval(39, 40)
    assert low < wilson[0] < 39 / 40 < wilson[1] < high == 1.0
    assert interval_of_folds(60, np.arange(60))[0] == pytest.approx(wilson_interval(40, 40)[0])


def test_near_duplicates_count_as_one_answer() -> None:
    """Forty photos of ten things, four of each."""
    things = np.repeat(np.arange(10), 4)
    assert effective_images(things) == pytest.approx(10 / FOLD_VARIANCE)
    assert interval_of_folds(40, things)[0] < interval_of_folds(40, np.arange(40))[0]
