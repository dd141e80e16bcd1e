"""What `/metrics` says of the answers' scores: their distribution, and how far it has moved from training's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from handful.service.artifact.card import ModelCard
from handful.service.artifact.folder import read_card
from handful.service.artifact.prediction import Prediction
from handful.service.artifact.scores import ScoreHistogram, ScoresCard
from handful.service.drift.psi import LEVELS
from handful.service.http.metrics import ServiceMetrics
from handful.service.serving.scores import ScoreMetrics

NOTHING = np.zeros(1, np.float32)
OF_TWO_PROCESSES = """
import json, sys
from tests.service.serving.test_scores import card_of, series_of, told
from handful.service.http.metrics import ServiceMetrics
from handful.service.serving.scores import ScoreMetrics
metrics = ServiceMetrics()
scores = ScoreMetrics(metrics)
card = card_of(sys.argv[1])
for number in range(int(sys.argv[2])):
    scores.count("bags", card, told(number / 1000))
print(json.dumps(series_of(metrics)))
"""


def card_of(artifact: str | Path) -> ModelCard:
    """That of the fixture, as if its scores had been spread evenly from 0 to 1."""
    even = ScoreHistogram.of([number / 200 for number in range(200)])
    assert even
    scores = ScoresCard(unknown_score=even, confidence=even)
    return read_card(Path(artifact)).model_copy(update={"training_scores": scores})


def told(score: float) -> Prediction:
    return Prediction("bag", score, False, (score,), NOTHING, score)


def series_of(metrics: ServiceMetrics) -> dict[str, float]:
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def of_drift(series: dict[str, float], what: str, score: str = "unknown_score", model: str = "bags") -> float | None:
    return series.get(f'handful_drift_{what}{{model="{model}",score="{score}"}}')


def window(series: dict[str, float], score: str = "unknown_score") -> list[float]:
    names = [f'handful_drift_images{{bin="{bin_}",model="bags",score="{score}"}}' for bin_ in range(1, 11)]
    return [series[name] for name in names]


def test_photos_like_those_of_training_are_steady_and_others_far(artifact: Path) -> None:
    metrics = ServiceMetrics()
    scores, card = ScoreMetrics(metrics), card_of(artifact)
    random = np.random.default_rng(0)
    for score in random.random(400):
        scores.count("bags", card, told(float(score)))
    series = series_of(metrics)
    assert of_drift(series, "level") == LEVELS.index("steady")
    assert of_drift(series, "psi_by_chance") == pytest.approx(9 * (1 / 200 + 1 / 400))
    assert series['handful_unknown_score_count{model="bags"}'] == 400
    assert series['handful_confidence_bucket{le="0.5",model="bags"}'] == pytest.approx(200, abs=50)
    for score in random.random(1000):
        scores.count("bags", card, told(1.2 + float(score)))
    series = series_of(metrics)
    assert window(series) == [0] * 9 + [1000]  # the window holds so many, and no more
    assert of_drift(series, "level") == of_drift(series, "level", "confidence") == LEVELS.index("far")
    assert (of_drift(series, "psi") or 0) > 2
    assert series['handful_unknown_score_count{model="bags"}'] == 1400


def test_few_photos_are_no_verdict(artifact: Path) -> None:
    metrics = ServiceMetrics()
    scores, card = ScoreMetrics(metrics), card_of(artifact)
    assert not [name for name in series_of(metrics) if name.startswith("handful_drift")]
    for _ in range(3):
        scores.count("bags", card, told(0.95))
    assert of_drift(series_of(metrics), "level") == LEVELS.index("too_few")


def test_a_new_version_begins_its_own_window(artifact: Path) -> None:
    metrics = ServiceMetrics()
    scores = ScoreMetrics(metrics, window=20)
    first = card_of(artifact)
    for _ in range(30):
        scores.count("bags", first, told(0.95))
    assert sum(window(series_of(metrics))) == 20
    scores.count("bags", card_of(artifact), told(0.05))
    assert window(series_of(metrics)) == [1] + [0] * 9
    of_earlier_release = card_of(artifact).model_copy(update={"training_scores": None})
    for _ in range(5):
        scores.count("bags", of_earlier_release, told(0.5))
    series = series_of(metrics)
    assert window(series) == [0] * 10
    assert of_drift(series, "psi") is None
    assert series['handful_confidence_count{model="bags"}'] == 36


def test_the_series_are_bounded_however_many_models_answer(artifact: Path) -> None:
    metrics = ServiceMetrics()
    scores, card = ScoreMetrics(metrics, most_models=2), card_of(artifact)
    for number in range(10):
        scores.count(f"model-{number}", card, told(0.5))
    counted = [name for name in series_of(metrics) if name.startswith("handful_confidence_count")]
    assert counted == ['handful_confidence_count{model="model-0"}', 'handful_confidence_count{model="model-1"}']


def test_windows_of_living_workers_are_added_and_a_dead_ones_is_not(artifact: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    series = {}
    for photos in (10, 25):
        done = subprocess.run(
            [sys.executable, "-c", OF_TWO_PROCESSES, artifact, str(photos)],
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": f"{root}:{root / 'tests'}"},
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        series = json.loads(done.stdout)
    assert sum(window(series)) == 25
    assert series['handful_confidence_count{model="bags"}'] == 35
    assert of_drift(series, "psi_by_chance") is not None
