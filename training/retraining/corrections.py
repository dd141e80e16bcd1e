"""Photos that the champion answers wrongly: those that are believed and must be learned, and those that are held back.

A person corrects what the model gets wrong, so the champion's answer alone cannot tell a correction from a wrong label.
How sure it is can: to the right label of a photo that it really got wrong it never gave less than 10 % against its own
answer. To a wrong label of a photo that it gets right it gives less in half to nine tenths of the cases
(training/LOG.md). A photo that it calls unknown contradicts nothing that it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from handful.training.head.labelled import Rows
from handful.training.learning import LearnedModel
from handful.training.photos.inspection import Inspected
from handful.training.photos.known import align_labels
from handful.training.photos.sources import Problem
from handful.training.retraining.champion import ChampionModel
from handful.training.retraining.gate import FEWEST_COMPARED, TOLERATED_WRONG, AnswersToCompare, WrongLabels
from handful.training.retraining.photos import RetrainPhotos
from handful.training.settings import RetrainSettings

DOUBTED = 0.1  # of the label, against the champion's own answer
ALL_WRONG = 0.9  # of the new photos; then the folder is one of corrections
MOST_DOUBTED = 0.75  # of the new photos; from there on it is the folder that contradicts, and the gate decides
NAMED = 5  # photos in the reason


@dataclass(frozen=True)
class Corrections:
    """`rows` (C,) of the inspected photos; `held_back` as the result lists them.

    `settled`: the labels were believed or held back one by one. Otherwise the gate decides whether all are believed.
    """

    rows: Rows
    held_back: tuple[dict[str, Any], ...] = ()
    settled: bool = False

    def result(self, learned: LearnedModel) -> dict[str, Any]:
        """Which of them the new version answers rightly, and why not the others."""
        inspected, rows = learned.inspected, self.rows
        embeddings = inspected.embeddings[rows]
        answers = learned.fitted.head.logits(embeddings).argmax(axis=1)
        unknown = learned.fitted.unknown.is_unknown(embeddings)
        wrong = [
            {
                "path": inspected.names[row],
                "label": inspected.labels[inspected.label_index[row]],
                "answer": None if refused else inspected.labels[answer],
                "reason": "it resembles the other photos of its label too little"
                if refused
                else "counting it for more does not help, or makes the answers to other photos worse",
            }
            for row, answer, refused in zip(rows.tolist(), answers, unknown, strict=True)
            if refused or answer != inspected.label_index[row]
        ]
        return corrections_result(wrong, self.held_back, len(rows) - len(wrong))


def corrections_result(
    not_learned: Sequence[dict[str, Any]], held_back: Sequence[dict[str, Any]], learned: int = 0
) -> dict[str, Any]:
    """As a retrain prints it."""
    return {
        "given": learned + len(not_learned) + len(held_back),
        "learned": learned,
        "not_learned": list(not_learned),
        "held_back": list(held_back),
    }


def separate_corrections(
    photos: RetrainPhotos, champion: ChampionModel, settings: RetrainSettings
) -> tuple[RetrainPhotos, Corrections]:
    """The photos without those that are held back, and the corrections among them."""
    inspected = photos.inspected
    names = [settings.rename.get(label, label) for label in champion.card.labels]
    answers = align_labels(champion.answers_to(photos.fresh), names, inspected.labels)  # (F, L)
    own = inspected.label_index[inspected.known :]  # (F,)
    added = AnswersToCompare(own, np.isin(inspected.labels, photos.known.labels), answers, answers)
    shared = added.comparable
    unknown = champion.classifier.unknown.is_unknown(photos.fresh)
    mistaken = shared & (answers.argmax(axis=1) != own)
    own_share = answers[np.arange(len(own)), own] / np.maximum(answers.max(axis=1, initial=0), 1e-12)  # of the answer's
    doubted = mistaken & ~unknown & (own_share < DOUBTED / (1 - DOUBTED))
    moved = _moved(photos, champion, names)
    fresh = np.flatnonzero(shared & (mistaken | unknown)) + inspected.known
    if settings.promote == "always" or champion.card.verdict.level == "guessing":
        return photos, Corrections(np.concatenate([moved, fresh]))
    if _contradicts(added, mistaken, doubted) or _empties(inspected, doubted):
        return photos, Corrections(moved)
    rows = np.flatnonzero(doubted)
    listed = tuple(
        {
            "path": inspected.names[row + inspected.known],
            "label": inspected.labels[own[row]],
            "looks_like": inspected.labels[answers[row].argmax()],
            "probability": round(float(answers[row].max()), 4),
        }
        for row in rows.tolist()
    )
    kept = np.delete(np.arange(len(inspected.images)), rows + inspected.known)
    corrections = np.searchsorted(kept, np.setdiff1d(np.concatenate([moved, fresh]), rows + inspected.known))
    left = replace(photos, inspected=_without(inspected, kept, listed), fresh=np.delete(photos.fresh, rows, axis=0))
    return left, Corrections(corrections, listed, settled=True)


def corrections_sentence(result: dict[str, Any]) -> str:
    """What a person is told; empty where there were no corrections."""
    believed = result["given"] - len(result["held_back"])
    wrong, held = result["not_learned"], result["held_back"]
    sentences = []
    if believed:
        photos = "photo" if believed == 1 else "photos"
        rightly = f"it answers {result['learned']} rightly"
        sentences.append(f"Of {believed} {photos} that the champion answers wrongly {rightly}.")
    if wrong:
        each = [
            f"{one['path']} ({one['answer'] or 'unknown'} instead of {one['label']}: {one['reason']})" for one in wrong
        ]
        sentences.append(f"Not {_listed(each)}.")
    if held:
        each = [f"{one['path']} ({one['label']}; by {one['probability']:.0%} {one['looks_like']})" for one in held]
        sentences.append(
            f"Held back, because the champion is sure of another label: {_listed(each)}. If the labels are right, use"
            " --promote always."
        )
    return " ".join(sentences)


def _listed(each: Sequence[str]) -> str:
    more = len(each) - NAMED
    return ", ".join(each[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _moved(photos: RetrainPhotos, champion: ChampionModel, names: Sequence[str]) -> Rows:
    """The known photos under another label now, which the champion learned under the former one."""
    rows = np.array([change.row for change in photos.inspected.relabelled], dtype=np.intp)
    if not len(rows):
        return rows
    answers = align_labels(champion.answers_to(photos.known.embeddings[rows]), names, photos.inspected.labels)
    wrong: Rows = rows[answers.argmax(axis=1) != photos.inspected.label_index[rows]]
    return wrong


def _contradicts(added: AnswersToCompare, mistaken: np.ndarray, doubted: np.ndarray) -> bool:
    """Whether so many labels look wrong that none can be believed: not a folder of corrections, or a poisoned one."""
    count = int(added.comparable.sum())
    if count < FEWEST_COMPARED or added.shared.sum() < 2:
        return False
    if doubted.sum() >= MOST_DOUBTED * count:
        return True
    compared = added.among_shared()
    wrong = WrongLabels.of(compared.champion, compared.labels)
    return bool(mistaken.sum() < ALL_WRONG * count and wrong.at_least > TOLERATED_WRONG)


def _empties(inspected: Inspected, doubted: np.ndarray) -> bool:
    """Whether a label would be left without a photo."""
    kept = np.append(np.ones(inspected.known, dtype=bool), ~doubted)
    return bool((np.bincount(inspected.label_index[kept], minlength=len(inspected.labels)) == 0).any())


def _without(inspected: Inspected, kept: Rows, held_back: Sequence[dict[str, Any]]) -> Inspected:
    if not held_back:
        return inspected
    problems = tuple(
        Problem(
            one["path"],
            "doubted_label",
            f"It lies under {one['label']}, but the champion is {one['probability']:.0%} sure that it is"
            f" {one['looks_like']}; it is held back. If the label is right, use --promote always.",
        )
        for one in held_back
    )
    return replace(
        inspected,
        images=tuple(inspected.images[row] for row in kept),
        label_index=inspected.label_index[kept],
        groups=inspected.groups[kept],
        problems=inspected.problems + problems,
        left_out={**inspected.left_out, "doubted_label": len(held_back)},
    )
