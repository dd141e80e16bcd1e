"""The index, its part by chance, and the verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest
from handful.service.artifact.scores import ScoreHistogram, ScoresCard
from handful.service.drift.psi import ScoreDrift, bins_of, photos_to_tell, worst
from scipy.stats import chi2


def drift_of(training: np.ndarray, photos: np.ndarray) -> ScoreDrift:
    histogram = ScoreHistogram.of(training.tolist())
    assert histogram
    counts = np.bincount(bins_of(histogram, photos), minlength=len(histogram.counts))
    return ScoreDrift.of(histogram.counts, counts.tolist())


def test_the_index_is_the_textbooks() -> None:
    e, a = np.array([100.0, 200, 300, 400]) + 0.5, np.array([250.0, 250, 250, 250]) + 0.5
    e, a = e / e.sum(), a / a.sum()
    drift = ScoreDrift.of([100, 200, 300, 400], [250, 250, 250, 250])
    assert drift.psi == pytest.approx(float(((a - e) * np.log(a / e)).sum()))
    assert drift.psi == pytest.approx(0.228, abs=0.001)  # without the halves: 0.2282
    assert ScoreDrift.of([250, 250, 250, 250], [100, 200, 300, 400]).psi == pytest.approx(drift.psi)


@pytest.mark.parametrize("freedom", [1, 2, 4, 9])
def test_the_limit_is_a_chi_squared_quantile(freedom: int) -> None:
    drift = ScoreDrift(np.full(freedom + 1, 100.0), np.full(freedom + 1, 100.0))
    counted = 50 * (freedom + 1)
    assert drift.limit * counted == pytest.approx(chi2.ppf(0.999, freedom), rel=0.04)
    assert drift.by_chance * counted == freedom


def test_deciles_hold_as_many_photos_each() -> None:
    histogram = ScoreHistogram.of(np.random.default_rng(0).normal(size=200).tolist())
    assert histogram
    assert histogram.counts == (20,) * 10
    assert ScoreHistogram.of([0.5] * 30) is None
    assert ScoreHistogram.of([math.nan]) is None
    one = ScoreHistogram.of([0.1] + [1.0] * 99)
    assert one
    assert one.counts == (1, 99)
    ties = ScoreHistogram.of([0.1] * 10 + [1.0] * 90)
    assert ties
    assert (ties.edges, ties.counts) == ((0.1,), (10, 90))
    assert bins_of(ties, [0.1, 0.1000001, 0.2, 1.5]).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("edges", "counts"), [((), (3,)), ((1.0,), (3,)), ((2.0, 1.0), (1, 1, 1)), ((math.inf,), (1, 1))]
)
def test_a_strangers_histogram_must_be_whole(edges: tuple[float, ...], counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="edges"):
        ScoresCard(unknown_score=ScoreHistogram(edges=edges, counts=counts))


@pytest.mark.parametrize(("training", "photos"), [(60, 60), (160, 100), (160, 1000), (1000, 1000)])
def test_photos_that_have_not_moved_are_seldom_said_to(training: int, photos: int) -> None:
    random = np.random.default_rng(1)
    levels = [drift_of(random.normal(size=training), random.normal(size=photos)).level for _ in range(200)]
    assert sum(level in {"moved", "far"} for level in levels) <= 2
    assert levels.count("steady") >= 140


@pytest.mark.parametrize("size", [100, 1000])
def test_photos_that_have_moved_are_said_to(size: int) -> None:
    random = np.random.default_rng(2)
    far = [drift_of(random.normal(size=160), random.normal(1.2, size=size)) for _ in range(50)]
    assert [drift.level for drift in far].count("far") >= 48
    assert all(drift.above > 0.7 for drift in far)
    little = [drift_of(random.normal(size=4000), random.normal(0.4, size=4000)).level for _ in range(20)]
    assert set(little) == {"moved"}


def test_few_photos_are_no_verdict() -> None:
    random = np.random.default_rng(3)
    levels = {drift_of(random.normal(size=160), random.normal(size=5)).level for _ in range(50)}
    assert "too_few" in levels
    assert not levels & {"moved", "far"}
    assert ScoreDrift.of([80, 80], [0, 0]).level == "too_few"
    assert photos_to_tell(30) is None
    assert photos_to_tell(160) == 49
    assert ScoreDrift.of([32] * 5, [10, 9, 10, 10, 10]).level == "steady"
    assert worst(["steady", "too_few"]) == "too_few"
    assert worst(["moved", "too_few", "steady"]) == "moved"
