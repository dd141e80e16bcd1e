"""Whether the fine-tuned network is better than the frozen one, beyond noise, on the same folds.

Asked of each photo's log loss, calibrated, in pairs: how much less was lost on it? The interval of the mean is
bootstrapped over groups of near-duplicates. McNemar's test looks only at the photos that one of the two got wrong; on a
hundred photos with five mistakes it can say yes to nothing but five mended and none made, while the log loss also
counts those that were nearly wrong. The accuracy must not be lower either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.training.head.folds import Labels
from handful.training.metrics import Probabilities
from numpy.typing import NDArray

RESAMPLINGS = 4000
AT_ONCE = 200  # resamplings; bounds the memory


@dataclass(frozen=True)
class Verdict:
    """Gains are those over the frozen backbone, in accuracy and in nats of log loss, each with its 95 % interval."""

    gain: float
    gain_ci95: tuple[float, float]
    log_loss_gain: float
    log_loss_gain_ci95: tuple[float, float]

    @property
    def kept(self) -> bool:
        return self.log_loss_gain_ci95[0] > 0 and self.gain >= 0

    @property
    def reason(self) -> str:
        low, high = self.log_loss_gain_ci95
        found = (
            f"out of fold the log loss fell by {self.log_loss_gain:.3f} (95 % interval {low:.3f} to {high:.3f})"
            f" and the accuracy changed by {_points(self.gain)} points ({' to '.join(map(_points, self.gain_ci95))})"
        )
        if self.kept:
            return f"better than the frozen backbone: {found}"
        return f"not better than the frozen backbone beyond noise: {found}"


def _points(gain: float) -> str:
    return f"{100 * gain:+.1f}"


def compare(frozen: Probabilities, tuned: Probabilities, labels: Labels, groups: Labels, seed: int) -> Verdict:
    """Of out-of-fold probabilities (N, L) on the same photos."""
    right = (tuned.argmax(axis=1) == labels).astype(float) - (frozen.argmax(axis=1) == labels)  # (N,)
    saved = _losses(frozen, labels) - _losses(tuned, labels)  # (N,)
    (gain, gain_ci95), (saving, saving_ci95) = _intervals(np.stack([right, saved], 1), groups, seed)
    return Verdict(gain, gain_ci95, saving, saving_ci95)


def _losses(probabilities: Probabilities, labels: Labels) -> NDArray[np.float64]:
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-15)))


def _intervals(
    values: NDArray[np.float64], groups: Labels, seed: int
) -> list[tuple[float, tuple[float, float]]]:  # fmt: skip
    """The mean of each column (N, C), with its percentile interval over resampled groups."""
    _, group = np.unique(groups, return_inverse=True)
    images = np.bincount(group).astype(float)  # (G,)
    sums = np.stack([np.bincount(group, column) for column in values.T], 1)  # (G, C)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLINGS // AT_ONCE):
        times = random.multinomial(len(images), np.full(len(images), 1 / len(images)), AT_ONCE)  # (AT_ONCE, G)
        drawn.append((times @ sums) / (times @ images)[:, None])
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975], axis=0)
    means = values.mean(axis=0)
    return [(float(m), (float(a), float(b))) for m, a, b in zip(means, low, high, strict=True)]
