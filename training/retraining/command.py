"""A new labelled folder on top of what the champion knows: a challenger, and whether it takes over.

Only photos that are not known are read by the network, the champion's own; the old photos are not needed. They are
where the whole network is to be fine-tuned again, which always begins with the pretrained weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from handful.service.artifact.card import ComparisonCard, GateCard, Int8Card, ModelCard
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.store import Store, check_name, home
from handful.service.classifier import Classifier
from handful.training.evaluate import evaluate_dataset
from handful.training.export import Export, skipped
from handful.training.finetune.distributed import Ranks, process_group
from handful.training.finetune.settings import FineTuneSettings
from handful.training.photos.inspection import Inspected
from handful.training.photos.known import in_order
from handful.training.photos.sources import Dataset, Problem, read_folder
from handful.training.retraining.champion import Champion, HeadChoice
from handful.training.retraining.gate import Answers, compare
from handful.training.retraining.photos import Gathered, gather_again, gather_new
from handful.training.train import Learned, described, learn
from pydantic import BaseModel, ConfigDict, Field


class RetrainSettings(BaseModel):
    """Everything a person decides about a retraining run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(None, description="the model's name; the only one where none is given")
    head: HeadChoice = "same"
    drop: tuple[str, ...] = Field((), description="labels to unlearn")
    rename: dict[str, str] = Field({}, description="known label -> its new name")
    finetune: FineTuneSettings | None = Field(None, description="None: the backbone stays as the champion has it")
    old: tuple[Path, ...] = Field((), description="folders with the photos learned before, to fine-tune on")
    promote: Literal["auto", "always", "never"] = Field("auto", description="auto: as the gate decides")


@dataclass(frozen=True)
class Challenger:
    """What was learned, and what comparing it with the champion showed."""

    gathered: Gathered
    learned: Learned
    gate: GateCard
    suspected: list[dict[str, Any]]


def retrain_folder(
    folder: Path | None, settings: RetrainSettings, root: Path | None = None
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """What `handful retrain` prints, and what was wrong with the folder. `root` stands in for `HANDFUL_HOME`.

    Raises `UsageError`, `DataError`, `ArtifactError`, or a `BackboneError` where the pretrained network is needed and
    gone; nothing is published then.
    """
    started = time.monotonic()
    _raise_unless_meant(folder, settings)
    store = Store(root or home())
    champion = Champion.load(store.resolve(check_name(settings.name) if settings.name else None))
    with process_group(fine_tuning=settings.finetune is not None) as ranks:
        gathered, embed_seconds = _gather(folder, settings, champion, root or home(), ranks)
        inspected = gathered.inspected
        if _nothing_new(inspected) and not (settings.drop or settings.rename or settings.finetune):
            return _unchanged(champion, inspected, time.monotonic() - started), inspected.problems
        fitting = time.monotonic()
        learned = _learn(gathered, settings, champion, root or home(), ranks)
    challenger = _challenger(champion, settings, gathered, learned)
    fit_seconds = time.monotonic() - fitting - learned.seconds.get("finetune", 0)
    card, path, outcome = _publish(store, champion, challenger, settings)
    if learned.tuned:
        learned.tuned.checkpoints.remove()
    held_out = _held_out(path, gathered.dataset)
    total = time.monotonic() - started
    seconds = {**learned.seconds, "embed": embed_seconds, "fit": fit_seconds, "total": total}
    result = {
        **_result(card, path, champion, inspected, seconds),
        "missing": gathered.missing,
        "suspected": challenger.suspected,
        **({"finetune": learned.tuned.result} if learned.tuned else {}),
        **_rivals(card, challenger.gate),
        **outcome,
        **({"held_out": held_out} if held_out else {}),
    }
    return result, inspected.problems


def follow_retrain(folder: Path | None, settings: RetrainSettings, root: Path | None = None) -> None:
    """What every process of torchrun but the first does: its part of fine-tuning, in silence."""
    if settings.finetune:
        _raise_unless_meant(folder, settings)
        champion = Champion.load(Store(root or home()).resolve(settings.name))
        with process_group(fine_tuning=True) as ranks:
            gathered, _ = _gather(folder, settings, champion, root or home(), ranks)
            _learn(gathered, settings, champion, root or home(), ranks)


def _raise_unless_meant(folder: Path | None, settings: RetrainSettings) -> None:
    if settings.finetune and not settings.old:
        raise UsageError(
            "--finetune learns from the old photos again, which are not kept: --with OLD_FOLDER says where they lie,"
            " once for each folder that was learned."
        )
    if settings.old and not settings.finetune:
        raise UsageError("--with says where the old photos lie, which only --finetune needs; leave it out, or add that")
    if folder is None and not (settings.drop or settings.rename or settings.finetune):
        raise UsageError("got neither a folder of new photos nor --drop or --rename; one of them is needed")


def _gather(
    folder: Path | None, settings: RetrainSettings, champion: Champion, root: Path, ranks: Ranks
) -> tuple[Gathered, float]:
    """With the seconds that it took."""
    started = time.monotonic()
    drop, rename, cache = settings.drop, settings.rename, root / "cache"
    if settings.finetune is None:
        return gather_new(champion, folder, drop, rename, cache), time.monotonic() - started
    folders = [*settings.old, *([] if folder is None else [folder])]
    with ranks.first_rank_first():  # the others find all embeddings in the cache
        return gather_again(champion, folders, drop, rename, cache), time.monotonic() - started


def _learn(gathered: Gathered, settings: RetrainSettings, champion: Champion, root: Path, ranks: Ranks) -> Learned:
    """From the layer upward that the champion was fine-tuned from, unless another is said."""
    finetune, former = settings.finetune, champion.card.finetune
    if finetune and former and finetune.layer is None:
        finetune = finetune.model_copy(update={"layer": former.layer})
    head = champion.head_settings(settings.head)
    return learn(gathered.backbone, gathered.inspected, head, finetune, champion.card.seed, root, ranks)


def _nothing_new(inspected: Inspected) -> bool:
    return len(inspected.images) == inspected.known and not inspected.relabelled


def _challenger(champion: Champion, settings: RetrainSettings, gathered: Gathered, learned: Learned) -> Challenger:
    """Of known photos, both answer by new heads on the same backbone, or by networks that had not seen the photo."""
    known, inspected = gathered.known, learned.inspected
    if settings.finetune is None:
        known = replace(known, answers=None)
    old, new, rows = champion.rivalry(known, settings.rename, inspected, learned.fitted, gathered.fresh)
    gate, suspected = compare(champion.card.model, old, new)
    return Challenger(gathered, learned, gate, [_suspect(inspected, rows[row], new, row) for row in suspected])


def _suspect(inspected: Inspected, row: int, new: Answers, answer: int) -> dict[str, Any]:
    """One new label that the champion contradicts."""
    likeliest = int(new.champion[answer].argmax())
    return {
        "path": inspected.names[row],
        "label": inspected.labels[inspected.label_index[row]],
        "looks_like": inspected.labels[likeliest],
        "probability": round(float(new.champion[answer, likeliest]), 4),
    }


def _publish(
    store: Store, champion: Champion, challenger: Challenger, settings: RetrainSettings
) -> tuple[ModelCard, Path, dict[str, Any]]:
    """The version, and whether it became champion and why; it never takes over from one it was not compared with."""
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
        reason = f"--promote {settings.promote} was said. {reason}"
    if wanted and not promoted:
        reason = (
            f"{name}:{store.champion(name)} became champion meanwhile, and has not learned these photos, nor this one"
            f" its: retrain again. {reason}"
        )
    return open_artifact(path).card, path, {"promoted": promoted, "reason": reason}


def _int8(former: ModelCard, learned: Learned, settings: RetrainSettings) -> Int8Card | None:
    """As the champion has it, whose backbone it is; another one is tried anew."""
    if former.int8 is None or settings.finetune is None:
        return former.int8
    return learned.try_int8(former.seed).card


def _kept_answers(challenger: Challenger) -> np.ndarray | None:
    """(N, L): the fine-tuned network has seen the known photos, and what was said of them before stays; not the new."""
    known, learned = challenger.gathered.known, challenger.learned
    if known.answers is None:
        return None
    before = in_order(known.answers, known.labels, learned.inspected.labels)
    return np.concatenate([before, learned.fitted.probabilities[learned.inspected.known :]])


def _held_out(path: Path, dataset: Dataset) -> dict[str, Any]:
    if not dataset.held_out:
        return {}
    classifier = Classifier.load(path)
    return {part.name: evaluate_dataset(classifier, read_folder(part))[0] for part in dataset.held_out}


def _unchanged(champion: Champion, inspected: Inspected, seconds: float) -> dict[str, Any]:
    times = {"embed": 0.0, "fit": 0.0, "total": seconds}
    return {
        **_result(champion.card, champion.artifact.path, champion, inspected, times),
        "missing": 0,
        "suspected": [],
        "champion": None,
        "challenger": None,
        "promoted": False,
        "reason": "There is nothing new to learn, so there is no new version.",
    }


def _result(
    card: ModelCard, path: Path, champion: Champion, inspected: Inspected, seconds: dict[str, float]
) -> dict[str, Any]:
    return {
        **described(card, path),
        "images": {"used": len(inspected.images), "skipped": skipped(inspected), "per_label": inspected.per_label},
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "problems": [vars(problem) for problem in inspected.problems],
        "previous": champion.card.model,
        "new": len(inspected.images) - inspected.known,
        "known": inspected.recognised,
        "relabelled": [
            {"path": change.path, "former": change.former, "label": change.label} for change in inspected.relabelled
        ],
    }


def _rivals(card: ModelCard, gate: GateCard) -> dict[str, Any]:
    return {
        "champion": {"model": gate.champion, **_side(gate, "champion")},
        "challenger": {"model": card.model, **_side(gate, "challenger")},
        "gate": gate.model_dump(
            mode="json", include={"passed", "p_forgets", "p_worse", "wrong_labels", "wrong_labels_at_least"}
        ),
    }


def _side(gate: GateCard, side: str) -> dict[str, Any]:
    return {part: _numbers(found, side) for part, found in (("known", gate.known), ("new", gate.new))}


def _numbers(found: ComparisonCard | None, side: str) -> dict[str, Any] | None:
    if found is None:
        return None
    measured = {each: getattr(found, f"{side}_{each}") for each in ("accuracy", "log_loss")}
    return {"images": found.images, **measured}
