"""The photos that were answered wrongly, and those whose label looks wrong, as a file beside the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from handful.service.artifact.atomic import private_file, private_folder
from handful.service.artifact.findings import FINDINGS, Findings, FoundPhoto
from handful.service.artifact.label_names import printable
from handful.training.metrics import SuspectedLabel, suspected_labels
from handful.training.report.sections import AnsweredPhotos

MOST_LISTED = 500  # of each kind


def found_in(photos: AnsweredPhotos, sha256: Sequence[str | None], *, guessing: bool) -> Findings:
    """A model that guesses suspects no label, as its answers say nothing about the folder. `sha256` (N,)."""
    suspects = [] if guessing else suspected_labels(photos.probabilities, photos.label_index)
    wrong = sorted(np.flatnonzero(photos.wrong), key=lambda row: (-photos.confidence[row], row))
    answers = [(int(row), int(photos.answers[row]), float(photos.confidence[row])) for row in wrong]
    return Findings(
        mistakes=tuple(_photo(photos, sha256, *answer) for answer in answers[:MOST_LISTED]),
        mistake_count=len(answers),
        suspects=tuple(_suspect(photos, sha256, each) for each in suspects[:MOST_LISTED]),
        suspect_count=len(suspects),
    )


def write_findings(report: Path, findings: Findings) -> None:
    """Into the report's folder. Raises OSError."""
    private_folder(report)
    private_file(report / FINDINGS.name).write_text(findings.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _photo(
    photos: AnsweredPhotos, sha256: Sequence[str | None], row: int, answer: int, confidence: float
) -> FoundPhoto:
    answered, share = photos.answer(answer, confidence)
    one = len(photos.labels) == 1
    return FoundPhoto(
        row=row,
        name=printable(photos.names[row]),
        label=photos.labels[photos.label_index[row]],
        answer=None if one else answered,
        confidence=share,
        sha256=sha256[row],
    )


def _suspect(photos: AnsweredPhotos, sha256: Sequence[str | None], each: SuspectedLabel) -> FoundPhoto:
    photo = _photo(photos, sha256, each.index, each.suggested, each.probability)
    own = float(photos.probabilities[each.index, each.given])
    reason = (
        f"Without having learned this photo, the model is {each.probability:.0%} sure that it shows {photo.answer} and"
        f" {own:.0%} that it shows {photo.label}."
    )
    return photo.model_copy(update={"reason": reason})
