"""`handful train`: a folder of labelled photos becomes a published version."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from handful.service.artifact.folder import open_artifact
from handful.service.artifact.names import check_name, name_from_folder
from handful.service.artifact.sources.columns import ColumnNames
from handful.service.artifact.store import Store
from handful.service.terminal.progress import INTEGERS, LOADING, REPORTING, next_stage, tell
from handful.training.backbone import load_backbone
from handful.training.evaluate import held_out_result
from handful.training.export import Export, published_result
from handful.training.finetune.distributed import Ranks, process_group
from handful.training.finetune.layers import layers_from
from handful.training.ladder.backbones import ChosenBackbone, choose_backbone, load_backbones
from handful.training.learning import LearnedModel, LearnSettings, embed_folder, learn_model
from handful.training.photos.inspection import Inspected, require_labels
from handful.training.photos.other import with_other
from handful.training.photos.overlap import overlap_problems
from handful.training.photos.sources import Dataset, Problem, read_folder, wanted_labels
from handful.training.report.libraries import imported_meanwhile
from handful.training.settings import TrainSettings


def train_folder(folder: Path, settings: TrainSettings) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """What `handful train` prints, and the problems of the folder.

    Raises `UsageError`, `DataError` or `BackboneError`; nothing is published then.
    """
    started = time.monotonic()
    store = Store()
    name = check_name(settings.name) if settings.name else name_from_folder(folder)
    dataset = with_other(read_folder(folder, settings.columns), settings.other)
    with process_group(fine_tuning=settings.finetune is not None) as ranks:
        learned, chosen = _learn(dataset, settings, ranks)
    if settings.int8:
        next_stage(INTEGERS)
    trial = learned.try_int8(settings.seed) if settings.int8 else None
    export = Export(
        name,
        learned.backbone,
        learned.inspected,
        learned.fitted,
        settings.seed,
        finetune=learned.finetune,
        int8=trial.card if trial else None,
        answers=learned.answers,
        keep_embeddings=settings.keep_embeddings,
    )
    next_stage(REPORTING)
    path = store.publish(name, export)
    learned.remove_checkpoints()
    held_out = held_out_result(path, dataset, learned.inspected)
    seconds = {**learned.seconds, "total": time.monotonic() - started}
    result = {
        **published_result(open_artifact(path).card, path, learned.inspected, seconds),
        **({"backbones": chosen.result} if chosen else {}),
        **({"finetune": learned.tuned.result} if learned.tuned else {}),
        **({"int8": trial.result} if trial else {}),
        **held_out,
    }
    return result, learned.inspected.problems


def follow_train(folder: Path, settings: TrainSettings) -> None:
    """The part in fine-tuning of every process of torchrun but the first; prints and publishes nothing."""
    if settings.finetune:
        with process_group(fine_tuning=True) as ranks:
            _learn(with_other(read_folder(folder, settings.columns), settings.other), settings, ranks)


def inspect_folder(folder: Path, backbone_ref: str, columns: ColumnNames | None = None) -> Inspected:
    """What `handful check` reports; `train` reads a folder in the same way."""
    dataset = read_folder(folder, columns)
    next_stage(LOADING)
    return _with_overlap(embed_folder(dataset, load_backbone(backbone_ref))[0], dataset)


def _with_overlap(inspected: Inspected, dataset: Dataset) -> Inspected:
    """Says at once where photos to measure on are among those to learn from."""
    found = overlap_problems(dataset, {image.content_sha256 for image in inspected.images})
    for problem in found:
        tell(f"{problem.path}: {problem.detail}")
    return replace(inspected, problems=(*inspected.problems, *found))


def _learn(dataset: Dataset, settings: TrainSettings, ranks: Ranks) -> tuple[LearnedModel, ChosenBackbone | None]:
    """The model, and how its backbone was chosen where that was wanted."""
    how = LearnSettings.of_kind(settings.head, settings.finetune, settings.seed)
    backbones = load_backbones(settings.backbone)
    if settings.finetune:
        for each in backbones:  # raises for a wrong name before the work begins
            layers_from(each.network, settings.finetune.layer)
    if len(backbones) > 1:
        chosen = choose_backbone(backbones, dataset, how.head, how.seed, ranks, thumbnails=settings.keep_embeddings)
        trial = chosen.trial
        backbone, inspected, seconds = trial.backbone, trial.inspected, {"backbones": chosen.seconds}
        seconds["embed"] = trial.embed_seconds
    else:
        chosen, backbone = None, backbones[0]
        meanwhile = imported_meanwhile() if ranks.first else nullcontext()  # the first alone writes the report
        with meanwhile, ranks.first_rank_first():  # the other processes then find all embeddings in the cache
            inspected, embed = embed_folder(dataset, backbone, thumbnails=settings.keep_embeddings, generic=True)
        seconds = {"embed": embed}
        require_labels(inspected, wanted_labels(dataset))
    learned = learn_model(backbone, _with_overlap(inspected, dataset), how, ranks)
    return replace(learned, seconds={**seconds, **learned.seconds}), chosen
