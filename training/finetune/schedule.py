"""How fast is learned at each step, and when it is time to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training.finetune.settings import FineTuneSettings


def rate_share(step: int, steps: int, settings: FineTuneSettings) -> float:
    """The learning rate at a step as a share of the highest: a linear warm-up, then a cosine to nought."""
    warmup = max(1, round(settings.warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def best_epoch(losses: Sequence[float]) -> int:
    """The number of epochs with the lowest log loss; `losses[0]` is that before the first, so 0 may be the answer."""
    return min(range(len(losses)), key=lambda epoch: losses[epoch])


def has_ended(losses: Sequence[float], settings: FineTuneSettings) -> bool:
    """After the last epoch, or where the log loss has not been lower for as long as patience lasts."""
    done = len(losses) - 1
    return done >= settings.epochs or done - best_epoch(losses) >= settings.patience
