"""Whether the fine-tuned network is better than the frozen one, beyond noise, on the same folds.

The two are compared by the calibrated log loss of each photo, in pairs. The interval of the mean difference is
bootstrapped over groups of near-duplicates. McNemar's test only uses the photos that one of the two got wrong; on a
hundred photos with five mistakes it can only be passed by correcting all five and making no new one, while the log loss
also counts photos that were nearly wrong. In addition, the accuracy must not be lower.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.training.head.labelled import Labels
from handful.training.metrics import Probabilities, image_log_losses
from numpy.typing import NDArray

RESAMPLINGS = 4000
BLOCK = 200  # resamplings at once; bounds the memory


@dataclass(frozen=True)
class PairedGain:
    """What was gained over the frozen backbone, in accuracy and in nats of log loss, each with its 95 % interval."""

    accuracy: float
    accuracy_ci95: tuple[float, float]
    log_loss: float
    log_loss_ci95: tuple[float, float]

    @property
    def significant(self) -> bool:
        return self.log_loss_ci95[0] > 0 and self.accuracy >= 0

    @property
    def reason(self) -> str:
        low, high = self.log_loss_ci95
        accuracy_range = " to ".join(map(_points, self.accuracy_ci95))
        numbers = (
            f"on photos that the network had not seen, the log loss fell by {self.log_loss:.3f} (95 % interval"
            f" {low:.3f} to {high:.3f}) and the accuracy changed by {_points(self.accuracy)} points ({accuracy_range})"
        )
        if self.significant:
            return f"better than the frozen backbone: {numbers}"
        return f"not better than the frozen backbone beyond noise: {numbers}"


def _points(gain: float) -> str:
    return f"{100 * gain:+.1f}"


def paired_bootstrap(
    frozen: Probabilities, tuned: Probabilities, labels: Labels, groups: Labels, seed: int
) -> PairedGain:
    """From out-of-fold probabilities (N, L) for the same photos."""
    right = (tuned.argmax(axis=1) == labels).astype(float) - (frozen.argmax(axis=1) == labels)  # (N,)
    saved = image_log_losses(frozen, labels) - image_log_losses(tuned, labels)  # (N,)
    (gain, gain_ci95), (saving, saving_ci95) = _intervals(np.stack([right, saved], 1), groups, seed)
    return PairedGain(gain, gain_ci95, saving, saving_ci95)


def _intervals(
    values: NDArray[np.float64], groups: Labels, seed: int
) -> list[tuple[float, tuple[float, float]]]:  # fmt: skip
    """The mean of each column (N, C), with its percentile interval over resampled groups."""
    _, group = np.unique(groups, return_inverse=True)
    images = np.bincount(group).astype(float)  # (G,)
    sums = np.stack([np.bincount(group, column) for column in values.T], 1)  # (G, C)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLINGS // BLOCK):
        times = random.multinomial(len(images), np.full(len(images), 1 / len(images)), BLOCK)  # (BLOCK, G)
        drawn.append((times @ sums) / (times @ images)[:, None])
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975], axis=0)
    means = values.mean(axis=0)
    return [(float(m), (float(a), float(b))) for m, a, b in zip(means, low, high, strict=True)]
