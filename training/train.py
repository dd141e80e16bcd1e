"""From a folder of labelled photos to a published version: read, embed, fit, export."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from handful.service.artifact.card import FineTuneCard, ModelCard
from handful.service.artifact.errors import BackboneUnsupported
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.artifact.store import Store, check_name, home, name_from_folder
from handful.service.classifier import Classifier
from handful.service.compute.network import Network
from handful.service.terminal.progress import progress_bar
from handful.training.backbone import Backbone, load_backbone
from handful.training.embeddings import Embedder
from handful.training.evaluate import evaluate_dataset
from handful.training.export import Export, skipped
from handful.training.finetune.distributed import Ranks, process_group
from handful.training.finetune.finetune import FineTuned, fine_tune
from handful.training.finetune.layers import layers_from
from handful.training.finetune.settings import FineTuneSettings
from handful.training.head.fit import Fitted, fit
from handful.training.head.selection import HeadSettings
from handful.training.photos.inspection import MIN_IMAGES, Inspected, inspect, require_labels
from handful.training.photos.sources import Dataset, Problem, read_folder
from handful.training.quantisation import Int8Trial, try_int8
from pydantic import BaseModel, ConfigDict, Field


class TrainSettings(BaseModel):
    """Everything a person decides about a training run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(None, description="the model's name; the folder's where none is given")
    backbone: str = Field(description="ORG/NAME[@REVISION], a local folder, or builtin")
    head: Literal["auto", "linear", "hidden"] = "auto"
    finetune: FineTuneSettings | None = Field(None, description="None: the backbone stays frozen")
    seed: int = Field(0, ge=0)
    int8: bool = Field(default=False, description="True: compute in 8-bit integers where that changes no answers")
    keep_embeddings: bool = Field(default=True, description="False: the artifact holds nothing of single photos")


def train_folder(
    folder: Path, settings: TrainSettings, root: Path | None = None
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """What `handful train` prints, and what was wrong with the folder. `root` stands in for `HANDFUL_HOME`.

    Raises `UsageError`, `DataError` or `BackboneError`; nothing is published then.
    """
    started = time.monotonic()
    store = Store(root or home())
    name = check_name(settings.name) if settings.name else name_from_folder(folder)
    dataset = read_folder(folder)
    with process_group(fine_tuning=settings.finetune is not None) as ranks:
        learned = _learn(dataset, settings, root or home(), ranks)
    inspected = learned.inspected
    trial = learned.try_int8(settings.seed) if settings.int8 else None
    export = Export(
        name,
        learned.backbone,
        inspected,
        learned.fitted,
        settings.seed,
        finetune=learned.finetune,
        int8=trial.card if trial else None,
        answers=learned.answers,
        keep_embeddings=settings.keep_embeddings,
    )
    path = store.publish(name, export)
    if learned.tuned:
        learned.tuned.checkpoints.remove()
    classifier = Classifier.load(path)
    held_out = {part.name: evaluate_dataset(classifier, read_folder(part))[0] for part in dataset.held_out}
    seconds = {**learned.seconds, "total": time.monotonic() - started}
    result = {
        **described(classifier.card, path),
        "images": {"used": len(inspected.images), "skipped": skipped(inspected), "per_label": inspected.per_label},
        **({"finetune": learned.tuned.result} if learned.tuned else {}),
        **({"int8": trial.result} if trial else {}),
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "problems": [vars(problem) for problem in inspected.problems],
        **({"held_out": held_out} if held_out else {}),
    }
    return result, inspected.problems


def follow_folder(folder: Path, settings: TrainSettings, root: Path | None = None) -> None:
    """What every process of torchrun but the first does: its part of fine-tuning, in silence."""
    if settings.finetune:
        with process_group(fine_tuning=True) as ranks:
            _learn(read_folder(folder), settings, root or home(), ranks)


@dataclass(frozen=True)
class Learned:
    """All that an artifact is made of."""

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
        """(N, L) of the networks that had not seen the photo, where the one that is exported has seen them all."""
        return self.fitted.probabilities if self.finetune else None

    def try_int8(self, seed: int) -> Int8Trial:
        """Of the backbone that is exported."""
        return try_int8(self.backbone, preprocessing_of(self.backbone), self.inspected, self.fitted, seed)


def _learn(dataset: Dataset, settings: TrainSettings, root: Path, ranks: Ranks) -> Learned:
    backbone = load_backbone(settings.backbone)
    if settings.finetune:
        layers_from(backbone.network, settings.finetune.layer)  # a wrong name is said at once
    with ranks.first_rank_first():  # the others find all embeddings in the cache
        inspected, embed_seconds = embed_folder(dataset, backbone, root)
    require_labels(inspected)
    head = HeadSettings(kind=settings.head)
    learned = learn(backbone, inspected, head, settings.finetune, settings.seed, root, ranks)
    return replace(learned, seconds={"embed": embed_seconds, **learned.seconds})


def learn(
    backbone: Backbone,
    inspected: Inspected,
    head: HeadSettings,
    finetune: FineTuneSettings | None,
    seed: int,
    root: Path,
    ranks: Ranks,
) -> Learned:
    """A head on what the backbone made of the photos; then the whole network, from their files, where it is wanted."""
    fitting = time.monotonic()
    fitted = fit(inspected, head, seed)
    seconds = {"fit": time.monotonic() - fitting}
    if finetune is None:
        return Learned(backbone, inspected, fitted, None, seconds)
    preprocessing = preprocessing_of(backbone)
    tuned = fine_tune(
        backbone, preprocessing, inspected, fitted, finetune, seed=seed, cache=root / "cache", ranks=ranks
    )
    seconds["finetune"] = tuned.result["seconds"]
    return Learned(tuned.backbone, tuned.inspected, tuned.fitted, tuned, seconds)


def check_folder(folder: Path, backbone_ref: str, root: Path | None = None) -> Inspected:
    """What `handful check` reports; the same reading that `train` does."""
    return embed_folder(read_folder(folder), load_backbone(backbone_ref), root or home())[0]


def embed_folder(
    dataset: Dataset, backbone: Backbone, root: Path, min_images: int = MIN_IMAGES
) -> tuple[Inspected, float]:
    """The folder's usable images with their embeddings, and the seconds that reading and embedding took."""
    started = time.monotonic()
    embedder = Embedder(Network(backbone.network), preprocessing_of(backbone), backbone.sha256, root / "cache")
    paths = [example.path for example in dataset.examples]
    with progress_bar("embed", len(paths)) as progress:
        results = embedder.embed(paths, progress)
    seconds = time.monotonic() - started
    return inspect(dataset, results, min_images), seconds


def preprocessing_of(backbone: Backbone) -> Preprocessing:
    try:
        return Preprocessing.from_pretrained_cfg(backbone.config["pretrained_cfg"])
    except (KeyError, ValueError) as e:
        raise BackboneUnsupported(f"{backbone.ref} wants an input that is not supported: {e}.") from e


def described(card: ModelCard, path: Path) -> dict[str, Any]:
    """The part of a result that the card tells."""
    return {
        "model": card.model,
        "path": str(path),
        "labels": list(card.labels),
        "head": card.head.kind,
        "cv": card.cross_validation.model_dump(mode="json"),
        "unknown": card.unknown.model_dump(mode="json"),
        "report": str(path / "report" / "report.html"),
    }
