"""How fast is learned at each step, when it is time to stop, and what is taken from the way there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from handful.training.finetune.settings import FineTuneSettings
from numpy.typing import NDArray

Losses = NDArray[np.float64]  # (B, H), of each photo that is held out, at each blend; smallest blend first


def rate_share(step: int, steps: int, settings: FineTuneSettings) -> float:
    """The learning rate at a step as a share of the highest: a linear warm-up, then a cosine to nought."""
    warmup = max(1, round(settings.warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def pooled(folds: Sequence[tuple[NDArray[np.intp], Sequence[Losses]]], count: int) -> list[Losses]:
    """Of all photos that any fold was measured on, after each epoch; of those in several folds, the mean.

    Each fold gives the numbers of its photos, below `count`, and their losses; one that ended early goes on with its
    last ones.
    """
    times = np.zeros(count)
    for photos, _ in folds:
        times[photos] += 1
    found = []
    for epoch in range(max(len(losses) for _, losses in folds)):
        total = np.zeros((len(folds[0][1][0]), count))
        for photos, losses in folds:
            total[:, photos] += losses[min(epoch, len(losses) - 1)]
        found.append(total[:, times > 0] / times[times > 0])
    return found


def best(losses: Sequence[Losses]) -> tuple[int, int]:
    """The number of epochs, and which blend; `losses[0]` is before the first epoch, and 0 epochs may be the answer.

    Few photos are held out, so the lowest loss is mostly luck. Unless the difference is more than a standard error, as
    for heads (training/head.py), the last epoch is taken, where the rate has come down, and the smaller blend, which
    lies nearer to what was pretrained: photos of another style, which nobody holds out here, suffer from the larger
    ones (training/LOG.md).
    """
    means = np.stack([loss.mean(axis=1) for loss in losses])  # (E + 1, B)
    chosen, epochs = 0, 0
    for blend, lowest in enumerate(means.argmin(axis=0)):
        last = len(losses) - 1
        found = lowest if _lower(losses[lowest][blend], losses[last][blend]) else last
        if blend == 0 or _lower(losses[found][blend], losses[epochs][chosen]):
            chosen, epochs = blend, found
    return (int(epochs), chosen) if means[epochs, chosen] < means[0, chosen] else (0, 0)


def _lower(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether one has the mean that is lower by more than a standard error; both (H,), of the same photos."""
    saved = other - one
    return bool(saved.mean() > saved.std() / math.sqrt(len(saved)))


def has_ended(losses: Sequence[Losses], settings: FineTuneSettings) -> bool:
    """After the last epoch, or where no blend's log loss has been lower for as long as patience lasts."""
    lowest = [float(loss.mean(axis=1).min()) for loss in losses]
    done = len(losses) - 1
    return done >= settings.epochs or done - lowest.index(min(lowest)) >= settings.patience
