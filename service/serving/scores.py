"""What the answers' scores look like, for Prometheus: their distribution, and how far it has moved from training's.

Each worker keeps, for each model, in which of training's bins its last photos lie; the sums of all workers are the
window that the population stability index is computed of, once somebody reads it. Photos are bounded in number, not in
time: a window of an hour at night would never hold enough to tell.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from handful.service.artifact.card import ModelCard
from handful.service.artifact.prediction import Prediction
from handful.service.artifact.scores import BINS, DIGITS, ScoreHistogram
from handful.service.http.metrics import ServiceMetrics

WINDOW = 1000  # photos per worker and model
MOST_MODELS = 64  # whose scores are counted; each has about 110 series


class ScoreMetrics:
    """One per worker. It is called from one thread."""

    def __init__(self, metrics: ServiceMetrics, window: int = WINDOW, most_models: int = MOST_MODELS) -> None:
        self.metrics, self.window, self.most_models = metrics, window, most_models
        self._models: dict[str, _ModelScores] = {}

    def count(self, name: str, card: ModelCard, prediction: Prediction) -> None:
        """A version's first photo empties the window of the version before."""
        scores = self._models.get(name)
        if scores is None:
            if len(self._models) >= self.most_models:
                return
            scores = self._models[name] = _ModelScores(self.metrics, name, self.window)
        if scores.card is not card:
            scores.begin(card)
        scores.count(prediction)


class _ModelScores:
    def __init__(self, metrics: ServiceMetrics, name: str, window: int) -> None:
        self.card: ModelCard | None = None
        self._unknown_score = _ScoreWindow(metrics, name, "unknown_score", window)
        self._confidence = _ScoreWindow(metrics, name, "confidence", window)
        self._observe_unknown_score: Callable[[float], None] = metrics.unknown_score.labels(name).observe
        self._observe_confidence: Callable[[float], None] = metrics.confidence.labels(name).observe

    def begin(self, card: ModelCard) -> None:
        self.card, scores = card, card.training_scores
        self._unknown_score.begin(scores.unknown_score if scores else None)
        self._confidence.begin(scores.confidence if scores else None)

    def count(self, prediction: Prediction) -> None:
        self._observe_unknown_score(prediction.unknown_score)
        self._observe_confidence(prediction.confidence)
        self._unknown_score.count(prediction.unknown_score)
        self._confidence.count(prediction.confidence)


class _ScoreWindow:
    """The last photos of one model, as counts of training's bins."""

    def __init__(self, metrics: ServiceMetrics, name: str, score: str, window: int) -> None:
        bins = [str(number) for number in range(1, BINS + 1)]
        self._training = [metrics.drift_training.labels(name, score, each) for each in bins]
        self._photos = [metrics.drift_photos.labels(name, score, each) for each in bins]
        self._edges: tuple[float, ...] | None = None
        self._window, self._last = window, deque[int]()

    def begin(self, histogram: ScoreHistogram | None) -> None:
        """With None nothing is counted: the version has no scores to compare with."""
        counts = histogram.counts if histogram and len(histogram.counts) <= BINS else ()
        for number in range(BINS):
            self._training[number].set(counts[number] if number < len(counts) else 0)
            self._photos[number].set(0)
        self._edges = histogram.edges if histogram and counts else None
        self._last.clear()

    def count(self, score: float) -> None:
        if self._edges is None:
            return
        if len(self._last) == self._window:
            self._photos[self._last.popleft()].dec()
        number = bisect_left(self._edges, round(score, DIGITS))
        self._last.append(number)
        self._photos[number].inc()
