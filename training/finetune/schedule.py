"""The learning rate at each step, when to stop, and which epoch and blend to take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from handful.training.finetune.settings import FineTuneSettings
from numpy.typing import NDArray

Losses = NDArray[np.float64]  # (B, H) of each held-out photo, at each blend; smallest blend first


def warmup_cosine(step: int, steps: int, warmup_steps: int) -> float:
    """The learning rate at a step as a share of the highest: a linear warm-up, then a cosine to zero."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def mean_over_folds(folds: Sequence[tuple[NDArray[np.intp], Sequence[Losses]]], count: int) -> list[Losses]:
    """The losses of all photos that were measured, after each epoch; the mean where several folds measured a photo.

    Each fold gives the rows of its photos, below `count`, and their losses. The last losses of a fold that ended early
    stand for the epochs that it did not train.
    """
    times = np.zeros(count)
    for photos, _ in folds:
        times[photos] += 1
    means = []
    for epoch in range(max(len(losses) for _, losses in folds)):
        total = np.zeros((len(folds[0][1][0]), count))
        for photos, losses in folds:
            total[:, photos] += losses[min(epoch, len(losses) - 1)]
        means.append(total[:, times > 0] / times[times > 0])
    return means


def best(losses: Sequence[Losses]) -> tuple[int, int]:
    """The number of epochs, and which blend; `losses[0]` is before the first epoch, and 0 epochs may be the answer.

    Few photos are held out, so the lowest loss is mostly luck. Unless the difference is more than one standard error,
    as for heads (head/selection.py), the last epoch is taken, where the learning rate has come down, and the smaller
    blend, which lies nearer to the pretrained weights: larger ones do worse on photos of another style, which are not
    among the held-out photos (training/LOG.md).
    """
    means = np.stack([loss.mean(axis=1) for loss in losses])  # (E + 1, B)
    chosen, epochs = 0, 0
    for blend, lowest in enumerate(means.argmin(axis=0)):
        last = len(losses) - 1
        epoch = lowest if _lower(losses[lowest][blend], losses[last][blend]) else last
        if blend == 0 or _lower(losses[epoch][blend], losses[epochs][chosen]):
            chosen, epochs = blend, epoch
    return (int(epochs), chosen) if means[epochs, chosen] < means[0, chosen] else (0, 0)


def _lower(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the mean of one is lower by more than one standard error; both (H,), of the same photos."""
    saved = other - one
    return bool(saved.mean() > saved.std() / math.sqrt(len(saved)))


def has_ended(losses: Sequence[Losses], settings: FineTuneSettings) -> bool:
    """After the last epoch, or when no blend has lowered the log loss for `patience` epochs."""
    lowest = [float(loss.mean(axis=1).min()) for loss in losses]
    done = len(losses) - 1
    return done >= settings.epochs or done - lowest.index(min(lowest)) >= settings.patience
