"""The results of cross-validation -> a version's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.training.head.fit import Fitted
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.photos.inspection import Inspected
from handful.training.report.embedding_map import MAX_COLOURED_LABELS, MAX_MAP_IMAGES, embedding_map, map_sample
from handful.training.report.learning_curve import learning_curve
from handful.training.report.page import MAX_PROBLEMS, ReportPage
from handful.training.report.plots import learning_plot, refusal_plot
from handful.training.report.sections import AnsweredPhotos, shared_sections


def write_report(folder: Path, card: ModelCard, inspected: Inspected, fitted: Fitted, *, pictures: bool = True) -> None:
    """Writes report.html and its PNGs; mistakes.png and learning_curve.png only where there is something to show.

    `card.files` may be empty: it is filled after this. Without `pictures` photos are named but not shown.
    """
    page = ReportPage()
    paths = [image.path for image in inspected.images]
    given = [inspected.labels[index] for index in inspected.label_index]
    photos = AnsweredPhotos(
        labels=inspected.labels,
        label_index=inspected.label_index,
        probabilities=fitted.probabilities,
        confusion=np.array(fitted.metrics.confusion),
        paths=paths,
        names=[_name_below(path, label) for path, label in zip(paths, given, strict=True)],
    )
    page.write(
        folder,
        "of_training.html",
        card=card,
        cv=card.cross_validation,
        **shared_sections(page, photos, fitted.metrics, show_photos=pictures),
        curve=_learning_curve(page, card, inspected, fitted),
        map=_map(page, card, inspected, photos),
        map_limit=MAX_MAP_IMAGES,
        colour_limit=MAX_COLOURED_LABELS,
        refusal=page.add(
            "refusal.png", refusal_plot({"training photos": fitted.unknown_scores}, fitted.unknown.threshold)
        ),
        problems=inspected.problems[:MAX_PROBLEMS],
        problem_count=len(inspected.problems),
        left_out=card.data.skipped,
        lists_all="handful check",
        candidates=fitted.head.candidates,
    )


def _learning_curve(page: ReportPage, card: ModelCard, inspected: Inspected, fitted: Fitted) -> dict[str, Any] | None:
    if card.finetune:
        return None  # the fine-tuned network was trained on every photo: a head on its embeddings would look too good
    strength = float(fitted.head.settings.get("strength", 1.0))  # a hidden head has none
    curve = learning_curve(LabelledEmbeddings.of(inspected), strength, card.seed)
    if curve is None:
        return None
    return {"result": curve, "picture": page.add("learning_curve.png", learning_plot(curve))}


def _map(page: ReportPage, card: ModelCard, inspected: Inspected, photos: AnsweredPhotos) -> dict[str, Any]:
    shown = map_sample(len(photos.label_index), card.seed)
    return embedding_map(
        page, photos.drawable, inspected.embeddings[shown], photos.label_index[shown], photos.wrong[shown]
    )


def _name_below(path: Path, label: str) -> str:
    """The path from the label's folder on; the folders above it are private."""
    folders = path.parts[:-1]
    if label not in folders:
        return path.name
    above = len(folders) - 1 - folders[::-1].index(label)
    return "/".join(path.parts[above:])
