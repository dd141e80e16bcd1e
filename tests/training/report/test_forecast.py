"""How good the model would be with more photos, and when nothing is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from handful.training.metrics import Metrics, interval_of_folds
from handful.training.report.forecast import FEWEST_MISTAKES, MOST_MORE, forecast_of
from handful.training.report.learning_curve import LearningCurve


def curve_with(*accuracies: float, largest: int = 64) -> LearningCurve:
    sizes = tuple(largest // 2**step for step in reversed(range(len(accuracies))))
    return LearningCurve(sizes, np.array(accuracies)[:, None], 0.01, 0.01, images=160, thinned=False)


def measured(right: int, per_label: int = 80) -> Metrics:
    images = 2 * per_label
    return Metrics(
        images=images,
        accuracy=right / images,
        accuracy_ci95=interval_of_folds(right, np.arange(images)),
        effective_images=images / 1.5,
        macro_f1=0.9,
        log_loss=0.1,
        ece=0.0,
        confusion=[[per_label, 0], [images - right, right - per_label]],
    )


def test_a_rising_curve_promises_more_than_a_flat_one() -> None:
    rising = forecast_of(curve_with(0.72, 0.83, 0.90, 0.94), measured(150), 2)
    flat = forecast_of(curve_with(0.94, 0.93, 0.94, 0.94), measured(150), 2)
    assert rising is not None
    assert flat is not None
    assert 150 / 160 <= flat.accuracy < rising.accuracy < 1
    for each in (rising, flat):
        assert each.accuracy_ci95[0] < each.accuracy < each.accuracy_ci95[1]
        assert each.more_per_label == MOST_MORE
    assert "With 50 more photos of each label" in rising.sentence


def test_a_curve_that_falls_by_chance_promises_no_loss() -> None:
    falling = forecast_of(curve_with(0.99, 0.97, 0.96, 0.94), measured(150), 2)
    assert falling is None or falling.accuracy >= 150 / 160


@pytest.mark.parametrize(
    ("right", "per_label"),
    [
        (160, 80),  # nothing to gain
        (161 - FEWEST_MISTAKES, 80),  # too few mistakes for a curve
        (88, 80),  # no better than guessing
        (9, 5),  # too few photos
        (33, 20),  # an interval so wide that it says nothing
    ],
)
def test_nothing_is_said_where_it_would_be_nonsense(right: int, per_label: int) -> None:
    assert forecast_of(curve_with(0.8, 0.9, 0.92), measured(right, per_label), 2) is None


def test_without_a_curve_there_is_no_forecast() -> None:
    assert forecast_of(None, measured(150), 2) is None
