"""`handful retrain`: read the photos, learn a challenger, compare it with the champion, publish it.

The network, which is the champion's own, embeds only photos that are not known; the old photos are not needed. Only
fine-tuning needs them, because it always begins with the pretrained weights.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from handful.service.artifact.store import Store
from handful.service.terminal.progress import COMPARING, LOADING_MODEL, REPORTING, next_stage
from handful.training.checks import check_retrain
from handful.training.finetune.distributed import process_group
from handful.training.learning import learn_model
from handful.training.photos.sources import Problem
from handful.training.retraining.challenger import compare_with_champion
from handful.training.retraining.champion import ChampionModel
from handful.training.retraining.corrections import separate_corrections
from handful.training.retraining.photos import read_photos
from handful.training.retraining.publishing import publish_challenger
from handful.training.retraining.result import retrain_result, unchanged_result
from handful.training.settings import RetrainSettings


def retrain_folder(folder: Path | None, settings: RetrainSettings) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """What `handful retrain` prints, and the problems of the folder.

    Raises `UsageError`, `DataError`, `ArtifactError`, or a `BackboneError` where the pretrained network is needed and
    cannot be loaded; nothing is published then.
    """
    started = time.monotonic()
    store, path = Store(), check_retrain(folder, settings)
    next_stage(LOADING_MODEL)
    champion = ChampionModel.load(path)
    with process_group(fine_tuning=settings.finetune is not None) as ranks:
        photos = read_photos(folder, settings, champion, ranks)
        photos, corrections = separate_corrections(photos, champion, settings)
        if photos.nothing_new and not (settings.changes_labels or settings.finetune):
            result = unchanged_result(champion, photos, corrections, time.monotonic() - started)
            return result, photos.inspected.problems
        how = champion.learn_settings(settings)
        learned = learn_model(photos.backbone, photos.inspected, how, ranks, corrections.rows)
    next_stage(COMPARING)
    challenger = compare_with_champion(champion, photos, learned, settings, corrections)
    next_stage(REPORTING)
    version = publish_challenger(store, champion, challenger, settings)
    learned.remove_checkpoints()
    result = retrain_result(champion, challenger, version, time.monotonic() - started)
    return result, photos.inspected.problems


def follow_retrain(folder: Path | None, settings: RetrainSettings) -> None:
    """The part in fine-tuning of every process of torchrun but the first; prints and publishes nothing."""
    if settings.finetune:
        champion = ChampionModel.load(check_retrain(folder, settings))
        with process_group(fine_tuning=True) as ranks:
            photos = read_photos(folder, settings, champion, ranks)
            photos, corrections = separate_corrections(photos, champion, settings)
            how = champion.learn_settings(settings)
            learn_model(photos.backbone, photos.inspected, how, ranks, corrections.rows)
