"""A new labelled folder on top of what the champion knows: a challenger, and whether it takes over.

Only photos that are not known are read by the network, the champion's own; the old photos are not needed.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.artifact.card import ComparisonCard, GateCard, ModelCard
from service.artifact.errors import ImageError, UsageError
from service.artifact.folder import open_artifact
from service.artifact.images import read_bytes
from service.artifact.pipeline import cpu_count
from service.artifact.progress import progress_bar
from service.artifact.store import Store, check_name, home
from service.classifier import Classifier
from training.champion import Champion, HeadChoice
from training.dataset import Dataset, Problem, read_folder
from training.embeddings import Embedded, Embedder
from training.evaluate import evaluate_dataset
from training.export import Export, skipped
from training.fitting import Fitted, fit
from training.gate import Answers, compare
from training.inspection import Inspected, inspect, require_labels
from training.known import recognised
from training.train import described


class RetrainSettings(BaseModel):
    """Everything a person decides about a retraining run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(None, description="the model's name; the only one where none is given")
    head: HeadChoice = "same"
    drop: tuple[str, ...] = Field((), description="labels to unlearn")
    rename: dict[str, str] = Field({}, description="known label -> its new name")
    promote: Literal["auto", "always", "never"] = Field("auto", description="auto: as the gate decides")


@dataclass(frozen=True)
class Challenger:
    """What was learned, and what comparing it with the champion showed."""

    inspected: Inspected
    fitted: Fitted
    gate: GateCard
    suspected: list[dict[str, Any]]


def retrain_folder(
    folder: Path | None, settings: RetrainSettings, root: Path | None = None
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """What `handful retrain` prints, and what was wrong with the folder. `root` stands in for `HANDFUL_HOME`.

    Raises `UsageError`, `DataError` or `ArtifactError`; nothing is published then.
    """
    started = time.monotonic()
    if folder is None and not settings.drop and not settings.rename:
        raise UsageError("got neither a folder of new photos nor --drop or --rename; one of them is needed")
    store = Store(root or home())
    champion = Champion.load(store.resolve(check_name(settings.name) if settings.name else None))
    known = champion.known.edited(settings.drop, settings.rename)
    dataset = Dataset(Path(), (), (), (), ()) if folder is None else read_folder(folder)
    embedding = time.monotonic()
    results = embed_unknown(dataset, champion, (root or home()) / "cache")
    fitting = time.monotonic()
    inspected = inspect(dataset, results, known=known)
    require_labels(inspected)
    if _nothing_new(inspected) and not settings.drop and not settings.rename:
        return _unchanged(champion, inspected, time.monotonic() - started), inspected.problems
    challenger = _challenger(champion, settings, inspected)
    fitted = time.monotonic()
    card, path, outcome = _publish(store, champion, challenger, settings)
    held_out = _held_out(path, dataset)
    seconds = {"embed": fitting - embedding, "fit": fitted - fitting, "total": time.monotonic() - started}
    result = {
        **_result(card, path, champion, inspected, seconds),
        "suspected": challenger.suspected,
        **_rivals(card, challenger.gate),
        **outcome,
        **({"held_out": held_out} if held_out else {}),
    }
    return result, inspected.problems


def embed_unknown(dataset: Dataset, champion: Champion, cache: Path) -> list[Embedded | ImageError]:
    """One result an example; a file whose bytes are known is not looked at by the network."""
    paths = [example.path for example in dataset.examples]
    with ThreadPoolExecutor(cpu_count()) as pool:
        contents = dict(zip(paths, pool.map(_content, paths), strict=True))
    found: dict[Path, Embedded | ImageError] = dict(
        recognised(champion.known, {path: content for path, content in contents.items() if content})
    )
    unknown = [path for path in paths if path not in found]
    network, preprocessing = champion.classifier.network, champion.classifier.preprocessing
    embedder = Embedder(network, preprocessing, champion.weights_sha256, cache)
    with progress_bar("embed", len(unknown)) as progress:
        found.update(zip(unknown, embedder.embed(unknown, progress), strict=True))
    return [found[path] for path in paths]


def _content(path: Path) -> str | None:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except ImageError:
        return None  # the embedder says what is wrong with it


def _nothing_new(inspected: Inspected) -> bool:
    return len(inspected.images) == inspected.known and not inspected.relabelled


def _challenger(champion: Champion, settings: RetrainSettings, inspected: Inspected) -> Challenger:
    fitted = fit(inspected, champion.head_settings(settings.head), champion.card.seed)
    known = champion.known.edited(settings.drop, settings.rename)
    old, new, rows = champion.rivalry(known, settings.rename, inspected, fitted)
    gate, suspected = compare(champion.card.model, old, new)
    return Challenger(inspected, fitted, gate, [_suspect(inspected, rows[row], new, row) for row in suspected])


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
    former, gate = champion.card, challenger.gate
    export = Export(
        former.name,
        champion.backbone,
        challenger.inspected,
        challenger.fitted,
        former.seed,
        parent=former.model,
        finetune=former.finetune,
        gate=gate,
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


def _held_out(path: Path, dataset: Dataset) -> dict[str, Any]:
    if not dataset.held_out:
        return {}
    classifier = Classifier.load(path)
    return {part.name: evaluate_dataset(classifier, read_folder(part))[0] for part in dataset.held_out}


def _unchanged(champion: Champion, inspected: Inspected, seconds: float) -> dict[str, Any]:
    times = {"embed": 0.0, "fit": 0.0, "total": seconds}
    return {
        **_result(champion.card, champion.artifact.path, champion, inspected, times),
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
