"""A labelled folder -> every rung's accuracy, on the same folds of the same photos."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.errors import DataError
from handful.service.terminal.progress import progress_bar
from handful.training.backbone import load_backbone
from handful.training.export import skipped
from handful.training.head.folds import Fold, make_folds
from handful.training.ladder.pictures import Pictures
from handful.training.ladder.plot import ladder_plot
from handful.training.ladder.rungs import Photos, Rung, chosen_rungs
from handful.training.learning import embed_folder
from handful.training.metrics import wilson_interval
from handful.training.photos.inspection import Inspected, require_labels
from handful.training.photos.sources import Dataset, Problem, read_folder
from pydantic import BaseModel, ConfigDict, Field

ONE_FOLD_FROM_IMAGES = 5000  # from here on a fifth of the photos is enough to judge by


class CompareSettings(BaseModel):
    """Everything a person decides about a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rungs: tuple[str, ...] = Field((), description="names of rungs; all where none is given")
    backbone: str = Field(description="ORG/NAME[@REVISION], a local folder, or builtin")
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Row:
    """One rung of the table."""

    name: str
    title: str
    accuracy: float
    accuracy_ci95: tuple[float, float]
    parameters: int
    trained: int
    seconds: float  # learning and answering, all folds, pictures read and embedded before


def compare_folder(folder: Path, settings: CompareSettings, out: Path) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """What `handful compare` prints, its plot in `out`, and what was wrong with the folder.

    A folder split into train/ and test/ is judged on that one division; otherwise each photo is judged once, in the
    folds that `handful train` would make, and from 5,000 photos on only the first fold is.
    """
    started = time.monotonic()
    rungs = chosen_rungs(settings.rungs)
    dataset = read_folder(folder)
    backbone = load_backbone(settings.backbone)
    inspected, embed_seconds = embed_folder(dataset, backbone)
    require_labels(inspected)
    judged, folds = _divided(dataset, inspected, settings)
    photos = Photos(
        Pictures([image.path for image in judged.images]),
        judged.label_index,
        judged.groups,
        judged.embeddings,
        backbone,
        settings.seed,
    )
    rows = [_climb(rung, f"{n}/{len(rungs)} {rung.title}", photos, folds) for n, rung in enumerate(rungs, start=1)]
    plot = out / "ladder.png"
    out.mkdir(parents=True, exist_ok=True)
    plot.write_bytes(ladder_plot(rows))
    result = {
        "data": str(folder),
        "images": {"used": len(judged.images), "skipped": skipped(judged), "per_label": judged.per_label},
        "judged": sum(len(test) for _, test in folds),
        "folds": len(folds),
        "backbone": settings.backbone,
        "seed": settings.seed,
        "rows": [vars(row) for row in rows],
        "seconds": {"embed": round(embed_seconds, 3), "total": round(time.monotonic() - started, 3)},
        "plot": str(plot),
    }
    return result, judged.problems


def _divided(dataset: Dataset, inspected: Inspected, settings: CompareSettings) -> tuple[Inspected, list[Fold]]:
    if dataset.held_out:
        return _with_held_out(inspected, dataset.held_out[-1], settings)
    folds = make_folds(inspected.label_index, inspected.groups, settings.seed)
    repeats = sum(len(test) for _, test in folds) // len(inspected.images)
    once = folds[: len(folds) // repeats]
    return inspected, once[:1] if len(inspected.images) >= ONE_FOLD_FROM_IMAGES else once


def _with_held_out(inspected: Inspected, part: Path, settings: CompareSettings) -> tuple[Inspected, list[Fold]]:
    """The photos of both parts, and the one division into them; labels that were not learned are left out."""
    held_out, _ = embed_folder(read_folder(part), load_backbone(settings.backbone), min_images=1)
    known = {name: index for index, name in enumerate(inspected.labels)}
    label_of = np.array([known.get(name, -1) for name in held_out.labels], dtype=np.int64)
    kept = np.flatnonzero(label_of[held_out.label_index] >= 0)
    if not len(kept):
        raise DataError(f"{part} has no usable image under {', '.join(inspected.labels)}, the labels learned.")
    first = len(inspected.images)
    both = replace(
        inspected,
        images=inspected.images + tuple(held_out.images[row] for row in kept),
        label_index=np.concatenate([inspected.label_index, label_of[held_out.label_index[kept]]]),
        groups=np.concatenate([inspected.groups, inspected.groups.max() + 1 + held_out.groups[kept]]),
        problems=inspected.problems + held_out.problems,
        found=inspected.found + held_out.found,
    )
    return both, [(np.arange(first), np.arange(first, first + len(kept)))]


def _climb(rung: Rung, words: str, photos: Photos, folds: list[Fold]) -> Row:
    rung.prepare(photos)
    started = time.monotonic()
    outcomes: list[tuple[int, int, int]] = []
    with progress_bar(words, sum(rung.work(len(train)) for train, _ in folds)) as progress:
        for train, test in folds:
            learned = rung.learn(photos, train, progress)
            correct = int((learned.answer(test).argmax(axis=1) == photos.labels[test]).sum())
            outcomes.append((correct, learned.parameters, learned.trained))
        correct, (_, parameters, trained) = sum(right for right, _, _ in outcomes), outcomes[-1]
        judged = sum(len(test) for _, test in folds)
        progress(0, f"{words}: {correct / judged:.1%}")  # stays on the terminal while the next rung takes its minutes
    return Row(
        name=rung.name,
        title=rung.title,
        accuracy=correct / judged,
        accuracy_ci95=wilson_interval(correct, judged),
        parameters=parameters,
        trained=trained,
        seconds=round(time.monotonic() - started, 3),
    )
