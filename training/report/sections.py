"""Labelled photos and the model's answers to them -> the sections that every report has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.verdict import Verdict
from handful.service.terminal.label_text import drawable_names
from handful.training.metrics import Metrics, suspected_labels
from handful.training.photos.sources import Problem
from handful.training.report.page import ReportPage, data_uri
from handful.training.report.plots import confusion_plot, reliability_plot
from handful.training.report.thumbnails import contact_sheet, jpeg, thumbnail
from numpy.typing import NDArray

MAX_SUSPECTED = 12  # photos shown
MAX_MISTAKES = 12  # further photos shown
MAX_CONFUSION_LABELS = 12
MAX_PROBLEMS = 40  # of each group


@dataclass(frozen=True)
class GalleryPhoto:
    """A photo on the page whose answer is not the label of its folder."""

    name: str
    given: str
    answered: str
    probability: float | None  # None: with a single label it says nothing
    picture: str | None  # data URI


@dataclass(frozen=True)
class AnsweredPhotos:
    """N photos of the model's L labels, and the answers from heads that were not trained on them."""

    labels: tuple[str, ...]
    label_index: NDArray[np.int64]  # (N,)
    probabilities: NDArray[np.float64]  # (N, L)
    confusion: NDArray[np.int64]  # (L, L)
    paths: Sequence[Path]
    names: Sequence[str]  # of the photos, as shown on the page
    refused: NDArray[np.bool_] | None = None  # (N,) of a single label: what the model called unknown is its mistake
    kept: Sequence[bytes] = ()  # JPEGs to show where a path has no file; none: no photo has one

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1))

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        return np.asarray(self.probabilities.max(axis=1))

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        if len(self.labels) == 1 and self.refused is not None:
            return self.refused
        return np.asarray(self.answers != self.label_index)

    def answer(self, label: int, probability: float) -> tuple[str, float | None]:
        """What a gallery shows as the answer to a photo that was answered wrongly."""
        return ("unknown", None) if len(self.labels) == 1 else (self.labels[label], probability)

    def sources(self, rows: Sequence[int]) -> list[tuple[Path, bytes]]:
        return [(self.paths[row], self.kept[row] if self.kept else b"") for row in rows]

    @cached_property
    def drawable(self) -> list[str]:
        return drawable_names(self.labels)


def shared_sections(
    page: ReportPage, photos: AnsweredPhotos, measured: Metrics, verdict: Verdict | None, *, show_photos: bool
) -> dict[str, Any]:
    """The base template's variables about the photos; without `show_photos` they are named but not shown.

    A model no better than guessing suspects no label, as its answers say nothing about the folder; where it is mostly
    wrong, its mistakes are not shown either.
    """
    guessing = verdict is not None and verdict.level == "guessing"
    shows_mistakes = not guessing or int(photos.wrong.sum()) * 2 < len(photos.wrong)
    suspected, suspected_count, mistakes = _mistakes(
        page, photos, MAX_MISTAKES if shows_mistakes else 0, suspect=not guessing, show_photos=show_photos
    )
    return {
        "verdict": verdict,
        "measured": measured,
        "right": int((~photos.wrong).sum()),
        "commonest": float(np.bincount(photos.label_index).max() / len(photos.label_index)),
        "commonest_label": photos.labels[np.bincount(photos.label_index).argmax()],
        "suspected": suspected,
        "suspected_count": suspected_count,
        "mistakes": mistakes,
        "mistake_count": int(photos.wrong.sum()),
        "confusion": _confusion(page, photos),
        "confusion_limit": MAX_CONFUSION_LABELS,
        "rows": _rows(photos),
        "mean_confidence": float(photos.confidence.mean()),
        "reliability": page.plot("reliability.png", reliability_plot(photos.confidence, ~photos.wrong)),
    }


def problem_sections(problems: Sequence[Problem], lists_all: str) -> dict[str, Any]:
    """The base template's variables about a folder's problems: what is left out, and what is used all the same."""
    groups = [[each for each in problems if each.leaves_out == left_out] for left_out in (True, False)]
    titles = ("Left out", "Used, but worth a look")
    shown = [(title, group[:MAX_PROBLEMS], len(group)) for title, group in zip(titles, groups, strict=True) if group]
    beside = sum(each.kind == "no_label" for each in problems)
    return {"problem_groups": shown, "lists_all": lists_all, "beside": beside}


def thumbnails_of(
    sources: Sequence[tuple[Path, bytes]], page: ReportPage, sheet: str, *, show: bool
) -> list[str | None]:
    """Each photo as a data URI, None for one that cannot be read or shown; `sheet` is a file with all of them.

    A source is the photo's path, and the JPEG that is kept of it.
    """
    thumbnails = [thumbnail(*source) if show else None for source in sources]
    if sources and show:
        page.add(sheet, contact_sheet(thumbnails))
    return [None if image is None else data_uri("image/jpeg", jpeg(image)) for image in thumbnails]


def _mistakes(
    page: ReportPage, photos: AnsweredPhotos, most: int, *, suspect: bool, show_photos: bool
) -> tuple[list[GalleryPhoto], int, list[GalleryPhoto]]:
    """The suspected wrong labels, how many there are, and the worst other mistakes; most confident answers first."""
    suspected = suspected_labels(photos.probabilities, photos.label_index) if suspect else []
    suspected_rows = {suspect.index for suspect in suspected}
    others = [int(row) for row in np.flatnonzero(photos.wrong) if row not in suspected_rows]
    worst = sorted(others, key=lambda row: (-photos.confidence[row], row))[:most]
    shown = [(each.index, each.suggested, each.probability) for each in suspected[:MAX_SUSPECTED]]
    rows = [*shown, *((row, int(photos.answers[row]), float(photos.confidence[row])) for row in worst)]
    uris = thumbnails_of(photos.sources([row for row, _, _ in rows]), page, "mistakes.png", show=show_photos)
    pictures = [
        GalleryPhoto(
            photos.names[row], photos.labels[photos.label_index[row]], *photos.answer(answer, probability), uri
        )
        for (row, answer, probability), uri in zip(rows, uris, strict=True)
    ]
    return pictures[: len(shown)], len(suspected), pictures[len(shown) :]


def _confusion(page: ReportPage, photos: AnsweredPhotos) -> str:
    counts = photos.confusion
    wrong = counts - np.diag(np.diag(counts))
    seen = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    mistakes = wrong.sum(axis=0) + wrong.sum(axis=1)
    most = np.sort(seen[np.argsort(-mistakes[seen], kind="stable")[:MAX_CONFUSION_LABELS]])
    names = [photos.drawable[label] for label in most]
    numbers = [label + 1 for label in most.tolist()]  # as in the table
    return page.plot("confusion.png", confusion_plot(counts[np.ix_(most, most)], names, numbers))


def _rows(photos: AnsweredPhotos) -> list[dict[str, Any]]:
    """One row per label with photos, for the table with the full label names."""
    right = np.diag(photos.confusion)
    wrong = photos.confusion - np.diag(right)
    worst = wrong.argmax(axis=1)
    return [
        {
            "number": row + 1,
            "label": label,
            "photos": int(photos.confusion[row].sum()),
            "right": int(right[row]),
            "taken_for": photos.labels[worst[row]] if wrong[row].any() else None,
            "times": int(wrong[row, worst[row]]),
        }
        for row, label in enumerate(photos.labels)
        if photos.confusion[row].any()
    ]
