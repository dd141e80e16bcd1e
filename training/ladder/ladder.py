"""A labelled folder -> every rung's accuracy, on the same folds of the same photos."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.errors import DataError
from handful.service.artifact.sources.columns import ColumnNames
from handful.service.terminal.progress import LOADING, next_stage, note, progress_bar
from handful.training.backbone import Backbone, load_backbone
from handful.training.export import skipped
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.ladder.bare import inspect_bare
from handful.training.ladder.plot import RungResult, ladder_plot
from handful.training.ladder.rungs import RUNGS, LadderPhotos, Rung
from handful.training.ladder.settings import TITLES, LadderSettings, chosen_names, stage_texts
from handful.training.ladder.squares import Squares
from handful.training.learning import embed_folder
from handful.training.metrics import wilson_interval
from handful.training.photos.inspection import MIN_IMAGES, Inspected, require_labels
from handful.training.photos.sources import Dataset, Problem, read_folder

ONE_FOLD_FROM_IMAGES = 5000  # from here on a fifth of the photos is enough to test on


def climb_ladder(
    folder: Path, settings: LadderSettings, out: Path, columns: ColumnNames | None = None
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """What `handful compare` prints, and what was wrong with the folder; the plot is written to `out`.

    A folder split into train/ and test/ is tested on that division. Otherwise each photo is tested once, in the folds
    that `handful train` would make; from 5,000 photos on, only the first fold is tested.
    """
    started = time.monotonic()
    names = chosen_names(settings.rungs)
    dataset = read_folder(folder, columns)
    backbone = _backbone(settings)
    inspected = _inspected(dataset, backbone)
    embed_seconds = time.monotonic() - started
    require_labels(inspected)
    used, folds = _divided(dataset, inspected, backbone, settings.seed)
    squares = Squares([image.path for image in used.images])
    photos = LadderPhotos(squares, LabelledEmbeddings.of(used), backbone, settings.seed)
    rows = [_climb(RUNGS[name], text, photos, folds) for name, text in zip(names, stage_texts(names), strict=True)]
    plot = out / "ladder.png"
    out.mkdir(parents=True, exist_ok=True)
    plot.write_bytes(ladder_plot(rows))
    result = {
        "data": str(folder),
        "images": {"used": len(used.images), "skipped": skipped(used), "per_label": used.per_label},
        "judged": _tested(folds),
        "folds": folds.count,
        "backbone": settings.backbone if backbone else None,
        "seed": settings.seed,
        "rows": [vars(row) for row in rows],
        "seconds": {"embed": round(embed_seconds, 3), "total": round(time.monotonic() - started, 3)},
        "plot": str(plot),
    }
    return result, used.problems


def _backbone(settings: LadderSettings) -> Backbone | None:
    if not settings.on_backbone:
        return None
    next_stage(LOADING)
    return load_backbone(settings.backbone)


def _inspected(dataset: Dataset, backbone: Backbone | None, min_images: int = MIN_IMAGES) -> Inspected:
    if backbone is None:
        return inspect_bare(dataset, min_images)
    return embed_folder(dataset, backbone, min_images)[0]


def _divided(dataset: Dataset, inspected: Inspected, backbone: Backbone | None, seed: int) -> tuple[Inspected, Folds]:
    if dataset.held_out:
        return _with_held_out(inspected, dataset.held_out[-1], backbone)
    folds = Folds.make(inspected.label_index, inspected.groups, seed).first_repeat()
    images = len(inspected.images)
    return inspected, Folds.single(next(iter(folds)).test, images) if images >= ONE_FOLD_FROM_IMAGES else folds


def _with_held_out(inspected: Inspected, part: Dataset, backbone: Backbone | None) -> tuple[Inspected, Folds]:
    """The photos of both parts, with the held-out ones as the only fold; their other labels are left out."""
    held_out = _inspected(part, backbone, min_images=1)
    known = {name: index for index, name in enumerate(inspected.labels)}
    label_of = np.array([known.get(name, -1) for name in held_out.labels], dtype=np.int64)
    kept = np.flatnonzero(label_of[held_out.label_index] >= 0)
    if not len(kept):
        raise DataError(f"{part.name}/ has no usable image under {', '.join(inspected.labels)}, the labels learned.")
    first = len(inspected.images)
    both = replace(
        inspected,
        images=inspected.images + tuple(held_out.images[row] for row in kept),
        label_index=np.concatenate([inspected.label_index, label_of[held_out.label_index[kept]]]),
        groups=np.concatenate([inspected.groups, inspected.groups.max() + 1 + held_out.groups[kept]]),
        problems=inspected.problems + held_out.problems,
        found=inspected.found + held_out.found,
    )
    return both, Folds.single(np.arange(first, first + len(kept)), first + len(kept))


def _tested(folds: Folds) -> int:
    return sum(len(fold.test) for fold in folds)


def _climb(rung: Rung, message: str, photos: LadderPhotos, folds: Folds) -> RungResult:
    rung.prepare(photos)
    started = time.monotonic()
    right = parameters = trained = 0
    with progress_bar(message, sum(rung.work(len(fold.train)) for fold in folds)) as progress:
        for fold in folds:
            fitted = rung.fit(photos, fold.train, progress)
            right += int((fitted.answer(fold.test).argmax(axis=1) == photos.data.labels[fold.test]).sum())
            parameters, trained = fitted.parameters, fitted.trained  # those of the last fold are shown
    tested = _tested(folds)
    note(f"{message}: {right / tested:.1%}")  # stays on the terminal while the next rung takes its minutes
    return RungResult(
        name=rung.name,
        title=TITLES[rung.name],
        accuracy=right / tested,
        accuracy_ci95=wilson_interval(right, tested),
        parameters=parameters,
        trained=trained,
        seconds=round(time.monotonic() - started, 3),
    )
