"""Photos of no label in the gate: what do the champion and the challenger answer to them, and is it *unknown*?

The challenger is held back where it answers photos of no label with a label that the champion answers with unknown
(exact McNemar, one-sided, at 1 %). It is also held back where it answers most of them, or of the new ones, with a
label: it could not learn from them then, and probably photos of a label are among them.
"""

from __future__ import annotations

import numpy as np
from handful.service.artifact.card import GateCard, OtherComparisonCard
from handful.training.head.fit import Fitted
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.unknown import MIN_OTHER, FittedUnknown, Strangers, fit_unknown, out_of_fold_scores
from handful.training.learning import LearnedModel
from handful.training.photos.duplicates import other_groups
from handful.training.photos.known import KnownPhotos
from handful.training.retraining.champion import ChampionModel
from handful.training.retraining.gate import FORGETS, worse_by_chance
from handful.training.retraining.photos import RetrainPhotos

MOST = 0.5


def weigh_refusals(gate: GateCard, champion: ChampionModel, photos: RetrainPhotos, learned: LearnedModel) -> GateCard:
    """The gate's card with the comparison, and with its objection where the labels raise none.

    Nothing is compared where the network was trained again: the champion's kept scores are of another network.
    """
    if not photos.inspected.other or learned.tuned is not None:
        return gate
    before, now = _champion_refuses(champion, photos, learned.fitted), _challenger_refuses(photos, learned.fitted)
    compared = OtherComparisonCard(
        images=len(now[1]),
        champion_refused=int(before[1].sum()),
        challenger_refused=int(now[1].sum()),
        known=len(now[0]),
        champion_refused_known=int(before[0].sum()),
        challenger_refused_known=int(now[0].sum()),
    )
    objection = objection_to_refusals(before[1], now[1], photos.new_other)
    if gate.passed and objection:
        return gate.model_copy(update={"other": compared, "passed": False, "reason": objection})
    both = (
        f" Of {compared.images} photos of no label it answers {compared.challenger_refused} with unknown, the champion"
        f" {compared.champion_refused}."
    )
    return gate.model_copy(update={"other": compared, "reason": gate.reason + (both if gate.passed else "")})


def objection_to_refusals(champion: np.ndarray, challenger: np.ndarray, new: np.ndarray) -> str | None:
    """Of whether each photo of no label (M,) is refused, and whether it is new."""
    for rows, which in ((new, "new "), (np.ones_like(new), "")):
        count, answered = int(rows.sum()), int((~challenger[rows]).sum())
        if count >= MIN_OTHER and answered > MOST * count:
            return (
                f"It would still answer {answered} of the {count} {which}photos of no label with a label, because they"
                " look like photos of its labels. If such photos are in other/, take them out."
            )
    chance = worse_by_chance(champion, challenger)
    if chance < FORGETS:
        lost = int((champion & ~challenger).sum())
        return (
            f"It answers {lost} photos of no label with a label that the champion answers with unknown"
            f" (p = {chance:.2g})."
        )
    return None


def _challenger_refuses(photos: RetrainPhotos, fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Of the known photos (K,) and of those of no label (M,), none of which the answering side has seen."""
    threshold = fitted.unknown.threshold
    return fitted.unknown_scores[: photos.inspected.known] > threshold, fitted.other_scores > threshold


def _champion_refuses(champion: ChampionModel, photos: RetrainPhotos, fitted: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """The same with the champion's threshold. What it knows is scored on the challenger's folds, the rest as it is."""
    detector = champion.classifier.unknown
    known = _out_of_fold(photos.known, photos, fitted)
    scores = {image.pixels_sha256: score for image, score in zip(photos.known.other, known.other, strict=True)}
    fresh = iter(detector.score(photos.fresh_other) if len(photos.fresh_other) else ())
    other = [
        scores[image.pixels_sha256] if image.pixels_sha256 in scores else next(fresh)
        for image in photos.inspected.other
    ]
    return known.known > detector.threshold, np.array(other) > detector.threshold


def _out_of_fold(known: KnownPhotos, photos: RetrainPhotos, fitted: Fitted) -> FittedUnknown:
    count = photos.inspected.known
    data = LabelledEmbeddings(known.embeddings, known.label_index, photos.inspected.groups[:count], len(known.labels))
    distances = out_of_fold_scores(data, fitted.folds.first_images(count))
    nothing = np.empty((0, known.embeddings.shape[1]), np.float32)
    rows = np.stack([image.embedding for image in known.other]) if known.other else nothing
    return fit_unknown(data, distances, Strangers(nothing, rows, other_groups(rows)))
