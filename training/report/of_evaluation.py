"""What a model answered to a labelled folder that it has not seen -> a report of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.image_files import relative_name
from handful.training.answers import FOREIGN, Answers
from handful.training.report.embedding_map import MAX_COLOURED_LABELS, MAX_MAP_IMAGES, embedding_map, map_sample
from handful.training.report.page import MAX_PROBLEMS, ReportPage
from handful.training.report.plots import refusal_plot
from handful.training.report.sections import Judged, Picture, pictures_of, shared_parts
from numpy.typing import NDArray

MAX_ACCEPTED = 12  # photos of other labels shown
MAX_NAMES = 20  # of other labels


def write_evaluation_report(
    folder: Path, evaluated: Answers, title: str, learned: Mapping[str, NDArray[Any]]
) -> Path:
    """report.html and its PNGs in a folder that need not be there yet; the page's path.

    `learned` are the artifact's arrays: `embeddings` and `labels` of the training photos, where it keeps them.
    """
    page, card, ours = ReportPage(), evaluated.card, evaluated.ours
    measured = evaluated.metrics()
    judged = Judged(
        labels=card.labels,
        label_index=evaluated.label_index[ours],
        probabilities=evaluated.probabilities[ours],
        confusion=np.array(measured.confusion),
        paths=[path for path, own in zip(evaluated.paths, ours, strict=True) if own],
        names=[relative_name(p, evaluated.dataset.root) for p, own in zip(evaluated.paths, ours, strict=True) if own],
    )
    parts = shared_parts(page, judged, measured, show_photos=True)
    return page.write(
        folder,
        "of_evaluation.html",
        photos=title,
        card=card,
        cv=card.cross_validation,
        evaluated_at=datetime.now(UTC),
        **parts,
        **_foreign(page, evaluated),
        absent_count=len(card.labels) - len(parts["rows"]),
        map=_map(page, evaluated, judged, learned),
        map_limit=MAX_MAP_IMAGES,
        colour_limit=MAX_COLOURED_LABELS,
        unknown_rate=float(evaluated.refused[ours].mean()),
        refusal=page.add("refusal.png", _refusal(evaluated)),
        problems=evaluated.problems[:MAX_PROBLEMS],
        problem_count=len(evaluated.problems),
        left_out=len(evaluated.dataset.examples) - len(evaluated.paths),
        lists_all="handful evaluate",
        candidates=[],
    )


def _foreign(page: ReportPage, evaluated: Answers) -> dict[str, Any]:
    """The photos of labels that the model does not know, and those of them that it did not refuse, surest first."""
    foreign = ~evaluated.ours
    sure = evaluated.probabilities.max(axis=1)
    accepted = sorted(np.flatnonzero(foreign & ~evaluated.refused).tolist(), key=lambda row: (-sure[row], row))
    shown = accepted[:MAX_ACCEPTED]
    uris = pictures_of([evaluated.paths[row] for row in shown], page, "accepted.png", show=True)
    names = sorted({evaluated.given[row] for row in np.flatnonzero(foreign)})
    return {
        "foreign_count": int(foreign.sum()),
        "foreign_refused": int(evaluated.refused[foreign].sum()),
        "foreign_labels": names[:MAX_NAMES],
        "foreign_label_count": len(names),
        "accepted": [
            Picture(
                name=relative_name(evaluated.paths[row], evaluated.dataset.root),
                given=evaluated.given[row],
                answered=evaluated.card.labels[evaluated.probabilities[row].argmax()],
                probability=float(sure[row]),
                picture=uri,
            )
            for row, uri in zip(shown, uris, strict=True)
        ],
    }


def _map(page: ReportPage, evaluated: Answers, judged: Judged, learned: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    rows = evaluated.mapped
    labels = evaluated.label_index[rows]
    mistaken = (labels != FOREIGN) & (evaluated.probabilities[rows].argmax(axis=1) != labels)
    background = None
    if "embeddings" in learned:
        shown = map_sample(len(learned["labels"]), evaluated.card.seed)
        background = learned["embeddings"][shown], learned["labels"][shown]
    thinned = len(rows) < len(evaluated.paths) or (background is not None and len(shown) < len(learned["labels"]))
    found = embedding_map(page, judged.drawable, evaluated.embeddings, labels, mistaken, background)
    return {**found, "thinned": thinned}


def _refusal(evaluated: Answers) -> bytes:
    ours = evaluated.ours
    curves = {"of its labels refused": evaluated.unknown_scores[ours]}
    if not ours.all():
        curves["of other labels refused"] = evaluated.unknown_scores[~ours]
    return refusal_plot(curves, evaluated.card.unknown.threshold)
