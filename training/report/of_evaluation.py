"""The report of `handful evaluate`: a model's answers to a labelled folder that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from handful.service.artifact.sources.listing import name_below
from handful.service.artifact.verdict import verdict_on
from handful.training.answers import FOREIGN, Answers
from handful.training.report.embedding_map import MAX_COLOURED_LABELS, MAX_MAP_IMAGES, embedding_map, map_sample
from handful.training.report.page import ReportPage
from handful.training.report.plots import refusal_plot
from handful.training.report.sections import (
    AnsweredPhotos,
    GalleryPhoto,
    problem_sections,
    shared_sections,
    thumbnails_of,
)
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ACCEPTED = 12  # photos of other labels shown
MAX_NAMES = 20  # of other labels, listed


def write_evaluation_report(folder: Path, evaluated: Answers, title: str, learned: Mapping[str, NDArray[Any]]) -> Path:
    """Writes report.html and its PNGs into a folder, which is created if needed; returns the page's path.

    `learned` holds the artifact's arrays `embeddings` and `labels` of the training photos, or nothing where the
    artifact does not keep them.
    """
    page, card, ours = ReportPage(), evaluated.card, evaluated.ours
    measured = evaluated.metrics()
    photos = AnsweredPhotos(
        labels=card.labels,
        label_index=evaluated.label_index[ours],
        probabilities=evaluated.probabilities[ours],
        confusion=np.array(measured.confusion),
        paths=[path for path, own in zip(evaluated.paths, ours, strict=True) if own],
        refused=evaluated.refused[ours],
        names=[name_below(p, evaluated.dataset.root) for p, own in zip(evaluated.paths, ours, strict=True) if own],
    )
    several = len(np.unique(photos.label_index)) > 1  # of one label alone nothing can be said
    verdict = verdict_on(card.labels, measured.confusion, measured.accuracy_ci95) if several else None
    sections = shared_sections(page, photos, measured, verdict, show_photos=True)
    return page.write(
        folder,
        "of_evaluation.html",
        photos=title,
        card=card,
        cv=card.cross_validation,
        evaluated_at=datetime.now(UTC),
        **sections,
        **_foreign(page, evaluated),
        **problem_sections(evaluated.problems, "handful evaluate"),
        absent_count=len(card.labels) - len(sections["rows"]),
        map=_map(page, evaluated, photos, learned),
        map_limit=MAX_MAP_IMAGES,
        colour_limit=MAX_COLOURED_LABELS,
        unknown_rate=float(evaluated.refused[ours].mean()),
        refusal=page.plot("refusal.png", _refusal(evaluated)),
        files=len(evaluated.dataset.examples),
        left_out=len(evaluated.dataset.examples) - len(evaluated.paths),
        candidates=[],
    )


def _foreign(page: ReportPage, evaluated: Answers) -> dict[str, Any]:
    """Photos of labels that the model does not know, and those that it did not refuse, most confident first."""
    foreign = ~evaluated.ours
    confidence = evaluated.probabilities.max(axis=1)
    accepted = sorted(np.flatnonzero(foreign & ~evaluated.refused).tolist(), key=lambda row: (-confidence[row], row))
    shown = accepted[:MAX_ACCEPTED]
    uris = thumbnails_of([(evaluated.paths[row], b"") for row in shown], page, "accepted.png", show=True)
    names = sorted({evaluated.given[row] for row in np.flatnonzero(foreign)})
    return {
        "foreign_count": int(foreign.sum()),
        "foreign_refused": int(evaluated.refused[foreign].sum()),
        "foreign_labels": names[:MAX_NAMES],
        "foreign_label_count": len(names),
        "accepted": [
            GalleryPhoto(
                name=name_below(evaluated.paths[row], evaluated.dataset.root),
                given=evaluated.given[row],
                answered=evaluated.card.labels[evaluated.probabilities[row].argmax()],
                probability=float(confidence[row]) if len(evaluated.card.labels) > 1 else None,
                picture=uri,
            )
            for row, uri in zip(shown, uris, strict=True)
        ],
    }


def _map(
    page: ReportPage, evaluated: Answers, photos: AnsweredPhotos, learned: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    rows = evaluated.mapped
    labels = evaluated.label_index[rows]
    mistaken = (labels != FOREIGN) & (evaluated.probabilities[rows].argmax(axis=1) != labels)
    background = None
    if "embeddings" in learned:
        shown = map_sample(len(learned["labels"]), evaluated.card.seed)
        background = learned["embeddings"][shown], learned["labels"][shown]
    thinned = len(rows) < len(evaluated.paths) or (background is not None and len(shown) < len(learned["labels"]))
    drawn = embedding_map(page, photos.drawable, evaluated.embeddings, labels, mistaken, background)
    return {**drawn, "thinned": thinned}


def _refusal(evaluated: Answers) -> Figure:
    ours = evaluated.ours
    curves = {"photos of its labels": evaluated.unknown_scores[ours]}
    if not ours.all():
        curves["photos of other labels"] = evaluated.unknown_scores[~ours]
    return refusal_plot(curves, evaluated.card.unknown.threshold)
