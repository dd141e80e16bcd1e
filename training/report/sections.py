"""Labelled photos with the answers to them -> the parts that every report has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.terminal.label_text import drawable_names
from handful.training.metrics import Metrics, suspected_labels
from handful.training.report.page import ReportPage, data_uri
from handful.training.report.plots import confusion_plot, reliability_plot
from handful.training.report.thumbnails import contact_sheet, jpeg, thumbnail
from numpy.typing import NDArray

MAX_SUSPECTED = 12  # photos shown
MAX_MISTAKES = 12  # photos shown beside the suspected ones
MAX_CONFUSION_LABELS = 20


@dataclass(frozen=True)
class Picture:
    """A photo on the page, with a label that is not its folder's."""

    name: str
    given: str
    answered: str
    probability: float
    picture: str | None  # data URI


@dataclass(frozen=True)
class Judged:
    """N photos under labels that the heads knew, and what was answered by heads that had not seen them."""

    labels: tuple[str, ...]
    label_index: NDArray[np.int64]  # (N,)
    probabilities: NDArray[np.float64]  # (N, L)
    confusion: NDArray[np.int64]  # (L, L)
    paths: Sequence[Path]
    names: Sequence[str]  # of the photos, as the page gives them

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def sure(self) -> NDArray[np.float64]:
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        return np.asarray(self.answers != self.label_index)

    @cached_property
    def drawable(self) -> list[str]:
        return drawable_names(self.labels)


def shared_parts(page: ReportPage, judged: Judged, measured: Metrics, *, show_photos: bool) -> dict[str, Any]:
    """What the base template asks for of the photos; without `show_photos` they are only named."""
    suspected, suspected_count, mistakes = _mistakes(page, judged, show_photos=show_photos)
    return {
        "measured": measured,
        "right": int((~judged.wrong).sum()),
        "commonest": float(np.bincount(judged.label_index).max() / len(judged.label_index)),
        "suspected": suspected,
        "suspected_count": suspected_count,
        "mistakes": mistakes,
        "mistake_count": int(judged.wrong.sum()),
        "confusion": _confusion(page, judged),
        "confusion_limit": MAX_CONFUSION_LABELS,
        "rows": _rows(judged),
        "mean_confidence": float(judged.sure.mean()),
        "reliability": page.add("reliability.png", reliability_plot(judged.sure, ~judged.wrong)),
    }


def pictures_of(paths: Sequence[Path], page: ReportPage, sheet: str, *, show: bool) -> list[str | None]:
    """The photos' addresses, None for one that is not to be had; side by side they are the file `sheet`."""
    thumbnails = [thumbnail(path) if show else None for path in paths]
    if paths and show:
        page.add(sheet, contact_sheet(thumbnails))
    return [None if image is None else data_uri("image/jpeg", jpeg(image)) for image in thumbnails]


def _mistakes(page: ReportPage, judged: Judged, *, show_photos: bool) -> tuple[list[Picture], int, list[Picture]]:
    """The suspected wrong labels, how many there are, and the other worst mistakes; surest answers first."""
    suspected = suspected_labels(judged.probabilities, judged.label_index)
    known = {suspect.index for suspect in suspected}
    others = [int(row) for row in np.flatnonzero(judged.wrong) if row not in known]
    worst = sorted(others, key=lambda row: (-judged.sure[row], row))[:MAX_MISTAKES]
    shown = [(each.index, each.suggested, each.probability) for each in suspected[:MAX_SUSPECTED]]
    answered = [*shown, *((row, int(judged.answers[row]), float(judged.sure[row])) for row in worst)]
    uris = pictures_of([judged.paths[row] for row, _, _ in answered], page, "mistakes.png", show=show_photos)
    pictures = [
        Picture(judged.names[row], judged.labels[judged.label_index[row]], judged.labels[answer], probability, uri)
        for (row, answer, probability), uri in zip(answered, uris, strict=True)
    ]
    return pictures[: len(shown)], len(suspected), pictures[len(shown) :]


def _confusion(page: ReportPage, judged: Judged) -> str:
    counts = judged.confusion
    wrong = counts - np.diag(np.diag(counts))
    seen = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    mistakes = wrong.sum(axis=0) + wrong.sum(axis=1)
    most = np.sort(seen[np.argsort(-mistakes[seen], kind="stable")[:MAX_CONFUSION_LABELS]])
    return page.add("confusion.png", confusion_plot(counts[np.ix_(most, most)], [judged.drawable[i] for i in most]))


def _rows(judged: Judged) -> list[dict[str, Any]]:
    """One a label with a photo, for the table that holds the names in full."""
    right = np.diag(judged.confusion)
    wrong = judged.confusion - np.diag(right)
    worst = wrong.argmax(axis=1)
    return [
        {
            "number": row + 1,
            "label": label,
            "photos": int(judged.confusion[row].sum()),
            "right": int(right[row]),
            "taken_for": judged.labels[worst[row]] if wrong[row].any() else None,
            "times": int(wrong[row, worst[row]]),
        }
        for row, label in enumerate(judged.labels)
        if judged.confusion[row].any()
    ]
