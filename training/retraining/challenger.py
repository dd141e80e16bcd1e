"""What was learned, compared with the champion on the same photos: the answers of both, and the gate's decision."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from handful.service.artifact.card import GateCard
from handful.service.artifact.label_names import normal_label
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.unknown import out_of_fold_scores, refused_by_others
from handful.training.learning import LearnedModel
from handful.training.photos.known import align_labels
from handful.training.retraining.champion import ChampionModel
from handful.training.retraining.corrections import Corrections, corrections_sentence
from handful.training.retraining.gate import AnswersToCompare, GivenCorrections, decide
from handful.training.retraining.photos import RetrainPhotos
from handful.training.retraining.refusals import weigh_refusals
from handful.training.settings import RetrainSettings


@dataclass(frozen=True)
class Challenger:
    """What was learned from which photos, and what the gate decided."""

    photos: RetrainPhotos
    learned: LearnedModel
    gate: GateCard
    suspected: list[dict[str, Any]]  # new labels that are probably wrong, as the result lists them
    corrections: dict[str, Any]  # what became of the photos that the champion answers wrongly, as in the result
    seconds: float  # of the comparison


def compare_with_champion(
    champion: ChampionModel,
    photos: RetrainPhotos,
    learned: LearnedModel,
    settings: RetrainSettings,
    corrections: Corrections,
) -> Challenger:
    started = time.monotonic()
    known, new, rows = answers_to_compare(champion, photos, learned, settings)
    if len(champion.card.labels) == len(learned.inspected.labels) == 1:
        known, new = recognitions_to_compare(champion, photos, learned, known, new)
    corrected = corrections.result(learned)
    given = len(corrections.rows)
    gate, probably_wrong = decide(
        champion.card.model, known, new, GivenCorrections(given, corrected["learned"], corrections.settled)
    )
    gate = weigh_refusals(gate, champion, photos, learned)
    if sentence := corrections_sentence(corrected):
        gate = gate.model_copy(update={"reason": f"{gate.reason} {sentence}"})
    if champion.card.verdict.level == "guessing":
        probably_wrong = probably_wrong[:0]  # its answers say nothing about a label
    if corrections.settled:
        probably_wrong = probably_wrong[~np.isin(rows[probably_wrong], corrections.rows)]
    labels, names, likeliest = learned.inspected.labels, learned.inspected.names, new.champion.argmax(axis=1)
    suspected = [
        {
            "path": names[rows[answer]],
            "label": labels[new.labels[answer]],
            "looks_like": labels[likeliest[answer]],
            "probability": round(float(new.champion[answer, likeliest[answer]]), 4),
        }
        for answer in probably_wrong
    ]
    return Challenger(photos, learned, gate, suspected, corrected, time.monotonic() - started)


def answers_to_compare(
    champion: ChampionModel, photos: RetrainPhotos, learned: LearnedModel, settings: RetrainSettings
) -> tuple[AnswersToCompare, AnswersToCompare, np.ndarray]:
    """Answers to known and to new photos, and the rows of `learned.inspected` that hold the new ones.

    A known photo whose label has changed counts as new. No answer comes from a head or a network that had seen the
    photo. Without fine-tuning, both sides answer known photos by new heads on the same backbone; with it, the champion
    answers by what its artifact keeps, where it keeps answers. New photos the champion answers as it is.
    """
    inspected, known = learned.inspected, photos.known
    if settings.finetune is None:
        known = replace(known, answers=None)
    moved = np.isin(np.arange(len(inspected.images)), [change.row for change in inspected.relabelled])
    new = moved | (np.arange(len(inspected.images)) >= inspected.known)
    to_new, to_known = champion.answers_to(photos.fresh), known.answers
    if to_known is None:
        to_known = champion.out_of_fold_answers(known, inspected, learned.fitted)
    labels = map(normal_label, champion.card.labels)  # an earlier release may have learned two forms of one label
    names = [settings.rename.get(label, label) for label in labels]
    aligned = [align_labels(to_known, known.labels, inspected.labels), align_labels(to_new, names, inspected.labels)]
    answers = np.concatenate(aligned)  # (N, L)
    shared = np.isin(inspected.labels, known.labels)

    def answers_in(rows: np.ndarray) -> AnswersToCompare:
        probabilities = learned.fitted.probabilities
        return AnswersToCompare(inspected.label_index[rows], shared, answers[rows], probabilities[rows])

    return answers_in(~new), answers_in(new), np.flatnonzero(new)


def recognitions_to_compare(
    champion: ChampionModel,
    photos: RetrainPhotos,
    learned: LearnedModel,
    known: AnswersToCompare,
    new: AnswersToCompare,
) -> tuple[AnswersToCompare, AnswersToCompare]:
    """For a single label, whose likeliest label is always right: right is what is recognised, wrong what is refused.

    As above, both sides answer known photos out of fold, and new ones the champion answers as it is.
    """
    count = len(known.labels)
    data = LabelledEmbeddings.of(learned.inspected).take(np.arange(count))
    folds = learned.fitted.folds.first_images(count)
    before = refused_by_others(out_of_fold_scores(data, folds), folds)
    refused = np.concatenate([before, champion.classifier.unknown.is_unknown(photos.fresh)])
    by_champion, by_challenger = (
        np.stack([~each, each], axis=1).astype(np.float64) for each in (refused, learned.fitted.refused)
    )

    def answers_in(part: AnswersToCompare, rows: slice) -> AnswersToCompare:
        return AnswersToCompare(
            part.labels, np.array([True, True]), by_champion[rows], by_challenger[rows], evidence=False
        )

    return answers_in(known, slice(count)), answers_in(new, slice(count, None))
