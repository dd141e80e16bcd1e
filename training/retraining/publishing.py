"""A challenger and what the gate decided -> a version in the store, and perhaps a new champion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from handful.service.artifact.card import Int8Card, ModelCard
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.store import Store
from handful.training.export import Export
from handful.training.learning import LearnedModel
from handful.training.photos.known import align_labels
from handful.training.retraining.challenger import Challenger
from handful.training.retraining.champion import ChampionModel
from handful.training.settings import RetrainSettings


@dataclass(frozen=True)
class PublishedVersion:
    """The new version, whether it became champion, and why or why not."""

    card: ModelCard
    path: Path
    promoted: bool
    reason: str


def publish_challenger(
    store: Store, champion: ChampionModel, challenger: Challenger, settings: RetrainSettings
) -> PublishedVersion:
    """It never takes over from another version than the one that it was compared with."""
    former, learned, gate = champion.card, challenger.learned, challenger.gate
    export = Export(
        former.name,
        learned.backbone,
        learned.inspected,
        learned.fitted,
        former.seed,
        parent=former.model,
        finetune=learned.finetune if settings.finetune else former.finetune,
        int8=_int8(former, learned, settings),
        gate=gate,
        answers=learned.answers if settings.finetune else _kept_answers(challenger),
    )
    name, compared = champion.artifact.path.parent.name, champion.artifact.path.name
    path = store.publish(name, export)
    wanted = settings.promote == "always" or (settings.promote == "auto" and gate.passed)
    promoted = wanted and store.promote(name, path.name, over=compared)
    reason = gate.reason
    if settings.promote != "auto":
        reason = f"--promote {settings.promote} was given. {reason}"
    if wanted and not promoted:
        reason = (
            f"{name}:{store.champion(name)} became champion in the meantime: it has not learned these photos, and this"
            f" version has not learned its photos. Retrain again. {reason}"
        )
    return PublishedVersion(open_artifact(path).card, path, promoted, reason)


def _int8(former: ModelCard, learned: LearnedModel, settings: RetrainSettings) -> Int8Card | None:
    """The champion's where the backbone is the champion's; for another backbone it is tried again."""
    if former.int8 is None or settings.finetune is None:
        return former.int8
    return learned.try_int8(former.seed).card


def _kept_answers(challenger: Challenger) -> np.ndarray | None:
    """(N, L): a fine-tuned backbone has seen the known photos, so for them the answers kept from before stay."""
    known, learned = challenger.photos.known, challenger.learned
    if known.answers is None:
        return None
    before = align_labels(known.answers, known.labels, learned.inspected.labels)
    return np.concatenate([before, learned.fitted.probabilities[learned.inspected.known :]])
