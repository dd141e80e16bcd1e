"""How good would the model be with more photos of the same kind? From the learning curve, with an interval.

Mistakes fall as a power of the number of photos (Cortes et al. 1993; Hestness et al. 2017). The power is fitted to the
curve and drawn towards what is usual, because a few photos say little about it (Figueroa et al. 2012 fit such curves
for the same purpose). The interval holds the uncertainty of the accuracy that was measured and that of the power.
training/LOG.md has how often it held: `python -m benchmarks intervals` measures it.
"""

from __future__ import annotations

import math

import numpy as np
from handful.service.artifact.card import ForecastCard
from handful.service.artifact.verdict import Z
from handful.training.metrics import Metrics
from handful.training.report.learning_curve import LearningCurve

USUAL_POWER, POWER_DEVIATION = 0.4, 0.35  # of the number of photos, before a curve is seen
CURVE_VARIANCE = 3.0  # times that of points from different photos: all sizes are tested on the same ones
FEWEST_MISTAKES = 3  # with fewer the curve is flat, or nothing but chance
FEWEST_PER_LABEL = 8
WIDEST = 0.2  # of an interval that is worth saying
LEARNED_SHARE = 0.8  # of the photos, in each of five folds
ROUNDED_TO, MOST_MORE = 5, 50  # photos of each label


def forecast_of(curve: LearningCurve | None, measured: Metrics, label_count: int) -> ForecastCard | None:
    """For about as many photos again; None where nothing can be said that would help."""
    mistakes = round((1 - measured.accuracy) * measured.images)
    per_label = measured.images / label_count
    commonest = max(map(sum, measured.confusion)) / measured.images
    if curve is None or label_count < 2 or mistakes < FEWEST_MISTAKES or per_label < FEWEST_PER_LABEL:
        return None
    if measured.accuracy_ci95[0] <= commonest:
        return None  # no better than guessing: more photos are not what it needs
    more = min(max(1, round(per_label / ROUNDED_TO)) * ROUNDED_TO, MOST_MORE)
    power, deviation = _power(curve)
    growth = math.log((per_label + more) / (LEARNED_SHARE * per_label))
    low, high = measured.accuracy_ci95
    now = math.log(1 - measured.accuracy)
    then = now - power * growth
    spread = Z * deviation * growth
    worst = then + math.hypot(math.log(1 - low) - now, spread)
    best = -math.inf if high == 1 else then - math.hypot(now - math.log(1 - high), spread)
    interval = max(0.0, 1 - math.exp(worst)), 1 - math.exp(best)
    if interval[1] - interval[0] > WIDEST:
        return None
    return ForecastCard(more_per_label=more, accuracy=1 - math.exp(then), accuracy_ci95=interval)


def _power(curve: LearningCurve) -> tuple[float, float]:
    """Of the mistakes by the number of photos, never below zero, and its standard deviation."""
    photos = np.log(curve.sizes)
    mistakes = np.maximum(1 - curve.accuracy.mean(axis=1), 0.5 / curve.images)
    weights = mistakes * curve.images  # the variance of a logarithm of a count is one by the count
    middle = np.average(photos, weights=weights)
    spread = float((weights * (photos - middle) ** 2).sum())
    slope = float(-(weights * (photos - middle) * np.log(mistakes)).sum() / spread)
    known, usual = spread / CURVE_VARIANCE, POWER_DEVIATION**-2  # precisions
    power = (slope * known + USUAL_POWER * usual) / (known + usual)
    return max(0.0, power), (known + usual) ** -0.5
