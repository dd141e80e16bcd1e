"""The gate: may a challenger take over from the champion?

It asks four questions of answers to photos that the answering head had not seen (training/LOG.md has the errors of
both kinds).

1. Are the new labels credible? The champion's calibrated answers are evidence on each new label; from them the share of
   wrong labels is estimated. A few wrong labels are listed and tolerated. Where the share is above a quarter at 97.5 %
   confidence, the folder contradicts what is known. (In a folder of nothing but corrected mistakes of the champion the
   labels are believed or held back one by one before anything is learned: corrections.py.)
2. Does it forget? On the known photos, among the labels that both know: exact McNemar, one-sided, at 1 %.
3. Is it worse overall? On known and new photos, with all labels: the same test at 5 %. It stops a new label that takes
   over photos of an old one.
4. Is it for nothing? Where it is worse on the known photos at all, something new must be answered better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.artifact.card import ComparisonCard, GateCard
from handful.training.metrics import image_log_losses
from handful.training.photos.known import renormalised
from numpy.typing import NDArray
from scipy.stats import binom

Probabilities = NDArray[np.float64]
Labels = NDArray[np.int64]

TOLERATED_WRONG = 0.25  # share of the new labels
FEWEST_COMPARED = 5  # new labels; fewer are no evidence, and change little
EVIDENCE = 1.92  # log likelihood: half the 95 % quantile of chi squared with one degree of freedom
CERTAIN = 0.99  # the highest probability that counts: heads on so few photos are calibrated no further
FORGETS, WORSE = 0.01, 0.05  # significance levels of the two tests
SHARES = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class AnswersToCompare:
    """The answers of both to the same N photos, in the challenger's L labels.

    `champion` (N, L) is zero in the columns of labels that the champion does not know.
    """

    labels: Labels  # (N,)
    shared: NDArray[np.bool_]  # (L,) labels that both know
    champion: Probabilities
    challenger: Probabilities
    evidence: bool = True  # whether the champion's answers may contradict a label: a single label's refusals do not

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """(N,) photos of a label that both know."""
        return self.shared[self.labels]

    def among_shared(self) -> AnswersToCompare:
        """The comparable photos, with only the labels that both know."""
        columns = np.flatnonzero(self.shared)
        position = np.full(len(self.shared), -1)
        position[columns] = np.arange(len(columns))
        rows = self.comparable
        return AnswersToCompare(
            position[self.labels[rows]],
            np.ones(len(columns), dtype=bool),
            renormalised(self.champion[np.ix_(rows, columns)]),
            renormalised(self.challenger[np.ix_(rows, columns)]),
        )

    def outcomes(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(N,) whether the champion, and whether the challenger, was right."""
        return self.champion.argmax(axis=1) == self.labels, self.challenger.argmax(axis=1) == self.labels


@dataclass(frozen=True)
class WrongLabels:
    """How many of the new labels are wrong, according to the champion's answers."""

    share: float
    at_least: float  # lower end of the share, at 97.5 % confidence
    probability: Probabilities  # (N,) that this label is wrong

    @classmethod
    def of(cls, answers: Probabilities, labels: Labels) -> WrongLabels:
        """Maximum likelihood of the share, from answers (N, L) by a head that had not seen the labels (N,)."""
        right = np.clip(answers[np.arange(len(labels)), labels], 1 - CERTAIN, CERTAIN)
        wrong = (1 - right) / max(answers.shape[1] - 1, 1)  # all other labels are equally likely
        likelihood = np.log(right + SHARES[:, None] * (wrong - right)).sum(axis=1)  # (101,)
        best = int(likelihood.argmax())
        share = float(SHARES[best])
        lowest = float(SHARES[likelihood >= likelihood[best] - EVIDENCE].min())
        return cls(share, lowest, share * wrong / (right + share * (wrong - right)))


@dataclass(frozen=True)
class GivenCorrections:
    """Photos that the champion answers wrongly, and how many of them the challenger answers rightly."""

    given: int = 0
    learned: int = 0
    settled: bool = False  # labels that look wrong were held back one by one


def decide(
    champion: str, known: AnswersToCompare, new: AnswersToCompare, corrections: GivenCorrections | None = None
) -> tuple[GateCard, NDArray[np.intp]]:
    """The decision with its numbers, and the rows of `new` whose labels are probably wrong, most probable first.

    `known` are photos whose label did not change since the champion learned them.
    """
    corrections = corrections or GivenCorrections()
    old, added = known.among_shared(), new.among_shared()
    several = old.champion.shape[1] > 1 and known.evidence
    wrong = WrongLabels.of(added.champion, added.labels) if several and len(added.labels) else None
    forgets = worse_by_chance(*old.outcomes())
    everything = [np.concatenate(pair) for pair in zip(known.outcomes(), new.outcomes(), strict=True)]
    worse = worse_by_chance(everything[0], everything[1])
    objection = (
        (None if corrections.settled else _contradiction(wrong, added))
        or _objection(old, forgets, worse)
        or _gains_nothing(old, new, corrections)
    )
    card = GateCard(
        champion=champion,
        passed=objection is None,
        reason=objection or _summary(known, new),
        known=_comparison(known),
        new=_comparison(new),
        p_forgets=forgets,
        p_worse=worse,
        wrong_labels=None if wrong is None else wrong.share,
        wrong_labels_at_least=None if wrong is None else wrong.at_least,
    )
    return card, np.empty(0, dtype=np.intp) if wrong is None else _suspected(new, wrong)


def _suspected(new: AnswersToCompare, wrong: WrongLabels) -> NDArray[np.intp]:
    rows = np.flatnonzero(new.comparable)
    order = np.argsort(-wrong.probability, kind="stable")
    return rows[order[wrong.probability[order] > 0.5]]


def _contradiction(wrong: WrongLabels | None, added: AnswersToCompare) -> str | None:
    """Why the new labels are not believed; None where they are."""
    if wrong is None or len(added.labels) < FEWEST_COMPARED or wrong.at_least <= TOLERATED_WRONG:
        return None
    return (
        f"By the champion's answers, {wrong.share:.0%} of the labels of the {len(added.labels)} new photos are"
        f" wrong, at least {wrong.at_least:.0%}. If the labels are right, use --promote always."
    )


def _objection(old: AnswersToCompare, forgets: float, worse: float) -> str | None:
    """Why the champion stays; None where the challenger may take over."""
    if forgets < FORGETS:
        lost, won = _discordant(*old.outcomes())
        return (
            f"It forgets: of {len(old.labels)} known photos it gets {lost} wrong that the champion gets right; the"
            f" other way round it is {won} (p = {forgets:.2g})."
        )
    if worse < WORSE:
        return f"It makes more mistakes than the champion on known and new photos together (p = {worse:.2g})."
    return None


def _gains_nothing(old: AnswersToCompare, new: AnswersToCompare, corrections: GivenCorrections) -> str | None:
    """Where it is worse on the known photos, by answers and by log loss, something new must be answered better: more
    photos, a correction, or, where nothing had to be corrected, the same photos with a lower log loss.
    """
    lost, won = _discordant(*old.outcomes())
    if lost <= won or not len(new.labels) or corrections.learned or _log_loss_gain(old) >= 0:
        return None
    new_lost, new_won = _discordant(*new.outcomes())
    added = new.among_shared()
    surer = not corrections.given and new_lost == new_won and len(added.labels) > 0 and _log_loss_gain(added) > 0
    if new_won > new_lost or surer:
        return None
    return (
        f"It is worse on the known photos and no better on the new ones: of {len(old.labels)} known ones it gets {lost}"
        f" wrong that the champion gets right; the other way round it is {won}. Of {len(new.labels)} new ones it gets"
        f" {new_won} more right and {new_lost} more wrong."
    )


def _log_loss_gain(answers: AnswersToCompare) -> float:
    """Nats per photo by which the challenger's log loss is lower."""
    champion, challenger = (
        image_log_losses(side, answers.labels, floor=1 - CERTAIN) for side in (answers.champion, answers.challenger)
    )
    return float(champion.mean() - challenger.mean())


def _summary(known: AnswersToCompare, new: AnswersToCompare) -> str:
    parts = [
        f"{where} it gets {challenger} of {len(answers.labels)} right, the champion {champion}"
        for where, answers in (("of photos known before", known), ("of new ones", new))
        for champion, challenger in [[int(right.sum()) for right in answers.outcomes()]]
        if len(answers.labels)
    ]
    return f"Not worse beyond noise: {'; '.join(parts) or 'there was nothing to compare on'}."


def _comparison(answers: AnswersToCompare) -> ComparisonCard | None:
    if not len(answers.labels):
        return None
    champion, challenger = (float(right.mean()) for right in answers.outcomes())
    shared = answers.among_shared()
    losses = [
        float(image_log_losses(side, shared.labels, floor=1 - CERTAIN).mean()) if len(shared.labels) else None
        for side in (shared.champion, shared.challenger)
    ]
    return ComparisonCard(
        images=len(answers.labels),
        champion_accuracy=champion,
        challenger_accuracy=challenger,
        champion_log_loss=losses[0],
        challenger_log_loss=losses[1],
    )


def worse_by_chance(champion: NDArray[np.bool_], challenger: NDArray[np.bool_]) -> float:
    """One-sided exact McNemar: the probability of so many losses if both are equally good."""
    lost, won = _discordant(champion, challenger)
    return float(binom.sf(lost - 1, lost + won, 0.5))


def _discordant(champion: NDArray[np.bool_], challenger: NDArray[np.bool_]) -> tuple[int, int]:
    return int((champion & ~challenger).sum()), int((challenger & ~champion).sum())
