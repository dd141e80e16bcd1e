"""The stages of each command's bar, with their usual share of its time."""

from __future__ import annotations

from handful.service.terminal.progress import (
    COMPARING,
    FINE_TUNING,
    INTEGERS,
    LEARNING,
    LOADING,
    LOOKING,
    REPORTING,
    STARTING,
    TESTING,
)
from handful.training.settings import RetrainSettings, TrainSettings


def check_stages() -> dict[str, float]:
    return {STARTING: 4, LOADING: 1, LOOKING: 8}


def train_stages(settings: TrainSettings) -> dict[str, float]:
    return {
        **check_stages(),
        LEARNING: 3,
        **({FINE_TUNING: 200} if settings.finetune else {}),
        **({INTEGERS: 4} if settings.int8 else {}),
        REPORTING: 4,
        TESTING: 2,
    }


def retrain_stages(settings: RetrainSettings) -> dict[str, float]:
    tuned = {FINE_TUNING: 200.0} if settings.finetune else {}
    return {**check_stages(), LEARNING: 3, **tuned, COMPARING: 1, REPORTING: 4, TESTING: 2}


def evaluate_stages() -> dict[str, float]:
    return {STARTING: 4, LOADING: 1, TESTING: 8, REPORTING: 3}
