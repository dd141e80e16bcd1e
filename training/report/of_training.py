"""The results of cross-validation -> a version's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.training.head.fit import Fitted
from handful.training.photos.cues import WORDS, cue_results, cue_sentence
from handful.training.photos.inspection import REASONS, Inspected
from handful.training.report.embedding_map import MAX_COLOURED_LABELS, MAX_MAP_IMAGES, embedding_map, map_sample
from handful.training.report.findings import found_in, write_findings
from handful.training.report.learning_curve import LearningCurve
from handful.training.report.page import ReportPage
from handful.training.report.plots import learning_plot, refusal_plot
from handful.training.report.sections import AnsweredPhotos, problem_sections, shared_sections


def write_report(
    folder: Path,
    card: ModelCard,
    inspected: Inspected,
    fitted: Fitted,
    curve: LearningCurve | None,
    *,
    pictures: bool = True,
) -> None:
    """Writes report.html, findings.json and PNGs; mistakes.png and learning_curve.png where they show something.

    `card.files` may be empty: it is filled after this. Without `pictures` photos are named but not shown.
    """
    page, cues = ReportPage(), cue_results(inspected, card.seed)
    photos = AnsweredPhotos(
        labels=inspected.labels,
        label_index=inspected.label_index,
        probabilities=fitted.probabilities,
        confusion=np.array(fitted.metrics.confusion),
        paths=[image.path for image in inspected.images],
        names=inspected.names,
        refused=fitted.refused,
        kept=[image.thumbnail for image in inspected.images],
    )
    hashes = [image.content_sha256 if pictures else None for image in inspected.images]
    write_findings(folder, found_in(photos, hashes, guessing=card.verdict.level == "guessing"))
    page.write(
        folder,
        "of_training.html",
        card=card,
        cv=card.cross_validation,
        **shared_sections(page, photos, fitted.metrics, card.verdict, show_photos=pictures),
        **problem_sections(inspected.problems, "handful check"),
        **_counts(inspected),
        cues=cues,
        cue_words=WORDS,
        cue_sentence=cue_sentence(cues),
        curve=curve and {"result": curve, "picture": page.plot("learning_curve.png", learning_plot(curve))},
        map=_map(page, card, inspected, photos),
        map_limit=MAX_MAP_IMAGES,
        colour_limit=MAX_COLOURED_LABELS,
        refusal=page.plot("refusal.png", refusal_plot(_refusal_curves(fitted), fitted.unknown.threshold)),
        candidates=fitted.head.candidates,
    )


def _refusal_curves(fitted: Fitted) -> dict[str, np.ndarray]:
    """The scores of photos that the detector had not seen, by what they are; only what there is."""
    curves = {
        "photos of its labels": fitted.unknown_scores,
        "of a label left out": fitted.left_out_scores,
        "of no label (other/)": fitted.other_scores,
    }
    measured = {legend: scores[np.isfinite(scores)] for legend, scores in curves.items()}
    return {legend: scores for legend, scores in measured.items() if len(scores)}


def _counts(inspected: Inspected) -> dict[str, Any]:
    """Files and photos: files = new + recognised + left out, and used = known + new."""
    left_out = inspected.found - len(inspected.images)
    return {
        "files": inspected.found - inspected.known + inspected.recognised,
        "used": len(inspected.images),
        "known": inspected.known,
        "new": len(inspected.images) - inspected.known,
        "recognised": inspected.recognised,
        "relabelled": len(inspected.relabelled),
        "left_out": left_out,
        "reasons": ", ".join(f"{count} {REASONS[reason]}" for reason, count in inspected.left_out.items()),
    }


def _map(page: ReportPage, card: ModelCard, inspected: Inspected, photos: AnsweredPhotos) -> dict[str, Any]:
    shown = map_sample(len(photos.label_index), card.seed)
    return embedding_map(
        page, photos.drawable, inspected.embeddings[shown], photos.label_index[shown], photos.wrong[shown]
    )
