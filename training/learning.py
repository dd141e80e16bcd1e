"""Photos -> embeddings -> a head, and a fine-tuned network where that is wanted; for `train` and `retrain`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from handful.service.artifact.card import FineTuneCard
from handful.service.artifact.errors import DataError
from handful.service.artifact.store import home
from handful.service.compute.network import Network
from handful.service.terminal.progress import LEARNING, LOOKING, next_stage, progress_bar
from handful.training.backbone import Backbone
from handful.training.embeddings import Embedder
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.finetune import FineTuned, fine_tune
from handful.training.finetune.settings import FineTuneSettings
from handful.training.head.fit import Fitted, fit
from handful.training.head.selection import HeadSettings
from handful.training.photos.generic import cached_generic
from handful.training.photos.inspection import MIN_IMAGES, Inspected, inspect
from handful.training.photos.sources import Dataset
from handful.training.quantisation import Int8Trial, try_int8

ONE_LABEL = "--finetune learns to tell labels apart, and there is only one; leave it out, or add a second label."


@dataclass(frozen=True)
class LearnSettings:
    """How a model is learned, whichever command asks for it."""

    head: HeadSettings
    finetune: FineTuneSettings | None  # None: the backbone stays as it is
    seed: int

    @classmethod
    def of_kind(
        cls, kind: Literal["auto", "linear", "hidden"], finetune: FineTuneSettings | None, seed: int
    ) -> LearnSettings:
        return cls(HeadSettings(kind=kind), finetune, seed)


@dataclass(frozen=True)
class LearnedModel:
    """Everything that an artifact is made of; `seconds` by stage."""

    backbone: Backbone
    inspected: Inspected
    fitted: Fitted
    tuned: FineTuned | None
    seconds: dict[str, float]

    @property
    def finetune(self) -> FineTuneCard | None:
        """None where the frozen backbone was kept."""
        return self.tuned.card if self.tuned else None

    @property
    def answers(self) -> np.ndarray | None:
        """(N, L) probabilities of networks that had not seen the photo; None where the backbone is frozen."""
        return self.fitted.probabilities if self.finetune else None

    def try_int8(self, seed: int) -> Int8Trial:
        """Of the backbone that is exported."""
        return try_int8(self.backbone, self.backbone.preprocessing, self.inspected, self.fitted, seed)

    def remove_checkpoints(self) -> None:
        """Once the version is published, nothing is left to go on with."""
        if self.tuned:
            self.tuned.checkpoints.remove()


def cache_folder() -> Path:
    """Where embeddings and checkpoints lie, in `HANDFUL_HOME`."""
    return home() / "cache"


def embedder_of(backbone: Backbone, *, thumbnails: bool = False) -> Embedder:
    network = Network(backbone.network)
    return Embedder(network, backbone.preprocessing, backbone.sha256, cache_folder(), thumbnails=thumbnails)


def embed_folder(
    dataset: Dataset,
    backbone: Backbone,
    min_images: int = MIN_IMAGES,
    *,
    thumbnails: bool = False,
    generic: bool = False,
) -> tuple[Inspected, float]:
    """The folder's usable images with their embeddings, and the seconds that reading and embedding took.

    With `generic` those of the generated pictures too, which the unknown detector needs.
    """
    return embed_with(embedder_of(backbone, thumbnails=thumbnails), dataset, min_images, generic=generic)


def embed_with(
    embedder: Embedder,
    dataset: Dataset,
    min_images: int = MIN_IMAGES,
    *,
    generic: bool = False,
    stage: str = LOOKING,
) -> tuple[Inspected, float]:
    """As `embed_folder`."""
    started = time.monotonic()
    paths = [example.path for example in dataset.examples]
    with progress_bar(stage, len(paths)) as progress:
        results = embedder.embed(paths, progress)
    of_generic = cached_generic(embedder) if generic else None
    seconds = time.monotonic() - started
    return replace(inspect(dataset, results, min_images), generic=of_generic), seconds


def learn_model(
    backbone: Backbone,
    inspected: Inspected,
    settings: LearnSettings,
    ranks: Ranks,
    corrections: np.ndarray | None = None,
) -> LearnedModel:
    """Fits a head on the embeddings, then trains the whole network on the photos' files where `settings` ask for it.

    `corrections` are rows of photos that the head must answer rightly if it can.
    """
    if settings.finetune and len(inspected.labels) == 1:
        raise DataError(ONE_LABEL)
    started = time.monotonic()
    next_stage(LEARNING)
    fitted = fit(inspected, settings.head, settings.seed, corrections)
    seconds = {"fit": time.monotonic() - started}
    if settings.finetune is None:
        return LearnedModel(backbone, inspected, fitted, None, seconds)
    tuned = fine_tune(
        backbone,
        backbone.preprocessing,
        inspected,
        fitted,
        settings.finetune,
        seed=settings.seed,
        cache=cache_folder(),
        ranks=ranks,
    )
    seconds["finetune"] = tuned.result["seconds"]
    return LearnedModel(tuned.backbone, tuned.inspected, tuned.fitted, tuned, seconds)
