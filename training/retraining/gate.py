"""Champion against challenger: may the new version take over?

Three questions, each asked of answers to photos that the answering head had not seen (training/LOG.md has the errors
of both kinds).

1. Are the new labels to be believed? The champion's calibrated answers are evidence on each new label; from them the
   share of wrong labels is estimated. A few wrong ones are listed; where less than a quarter can be excluded at 97.5 %,
   the folder contradicts what is known. (So does one of nothing but the champion's mistakes, put right: from inside,
   the two look the same, and a person has to say which it is.)
2. Has it forgotten? On the known photos, among the labels that both know: exact McNemar, one-sided, at 1 %.
3. Is it worse on the whole? On known and new photos, with all labels: the same at 5 %. A new label that swallows an old
   one fails here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.service.artifact.card import ComparisonCard, GateCard
from handful.training.metrics import image_log_losses
from handful.training.photos.known import normalised
from numpy.typing import NDArray
from scipy.stats import binom

Probabilities = NDArray[np.float64]
Labels = NDArray[np.int64]

TOLERATED_WRONG = 0.25  # share of the new labels
FEWEST_JUDGED = 5  # new labels; fewer are evidence for nothing, and do little
EVIDENCE = 1.92  # log likelihood: half the 95 % quantile of chi squared with one degree of freedom
CERTAIN = 0.99  # of no single answer is a calibrated head on so few photos surer
FORGETS, WORSE = 0.01, 0.05  # levels of the two tests
SHARES = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Answers:
    """What both answered to the same photos, in the challenger's labels.

    `champion` (N, L) has nought in the columns of labels that the champion does not know.
    """

    labels: Labels  # (N,)
    shared: NDArray[np.bool_]  # (L,) labels that both know
    champion: Probabilities
    challenger: Probabilities

    @property
    def judged(self) -> NDArray[np.bool_]:
        """(N,) photos of a label that both know."""
        return self.shared[self.labels]

    def among_shared(self) -> Answers:
        """The judged photos, with the labels that both know and no others."""
        columns = np.flatnonzero(self.shared)
        position = np.full(len(self.shared), -1)
        position[columns] = np.arange(len(columns))
        rows = self.judged
        return Answers(
            position[self.labels[rows]],
            np.ones(len(columns), dtype=bool),
            normalised(self.champion[np.ix_(rows, columns)]),
            normalised(self.challenger[np.ix_(rows, columns)]),
        )

    def outcomes(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(N,) whether the champion, and whether the challenger, was right."""
        return self.champion.argmax(axis=1) == self.labels, self.challenger.argmax(axis=1) == self.labels


@dataclass(frozen=True)
class WrongLabels:
    """How many of the new labels the champion's answers say are wrong."""

    share: float
    at_least: float  # at 97.5 %
    probability: Probabilities  # (N,) that this label is wrong

    @classmethod
    def of(cls, answers: Probabilities, labels: Labels) -> WrongLabels:
        """Maximum likelihood of the share, from answers (N, L) that did not see the labels (N,)."""
        right = np.clip(answers[np.arange(len(labels)), labels], 1 - CERTAIN, CERTAIN)
        wrong = (1 - right) / max(answers.shape[1] - 1, 1)  # another label is as likely as a third
        likelihood = np.log(right + SHARES[:, None] * (wrong - right)).sum(axis=1)  # (101,)
        best = int(likelihood.argmax())
        share = float(SHARES[best])
        lowest = float(SHARES[likelihood >= likelihood[best] - EVIDENCE].min())
        return cls(share, lowest, share * wrong / (right + share * (wrong - right)))


def compare(champion: str, known: Answers, new: Answers) -> tuple[GateCard, NDArray[np.intp]]:
    """The decision with its numbers, and the rows of `new` whose labels are probably wrong, surest first.

    `known` are photos whose label did not change since the champion learned them.
    """
    old, judged = known.among_shared(), new.among_shared()
    several = old.champion.shape[1] > 1
    wrong = WrongLabels.of(judged.champion, judged.labels) if several and len(judged.labels) else None
    forgets = _worse(*old.outcomes())
    everything = [np.concatenate(pair) for pair in zip(known.outcomes(), new.outcomes(), strict=True)]
    worse = _worse(everything[0], everything[1])
    verdict = _verdict(wrong, judged, old, forgets, worse)
    card = GateCard(
        champion=champion,
        passed=verdict is None,
        reason=verdict or _praise(known, new),
        known=_comparison(known),
        new=_comparison(new),
        p_forgets=forgets,
        p_worse=worse,
        wrong_labels=None if wrong is None else wrong.share,
        wrong_labels_at_least=None if wrong is None else wrong.at_least,
    )
    return card, np.empty(0, dtype=np.intp) if wrong is None else _suspected(new, wrong)


def _suspected(new: Answers, wrong: WrongLabels) -> NDArray[np.intp]:
    rows = np.flatnonzero(new.judged)
    surest_first = np.argsort(-wrong.probability, kind="stable")
    return rows[surest_first[wrong.probability[surest_first] > 0.5]]


def _verdict(wrong: WrongLabels | None, judged: Answers, old: Answers, forgets: float, worse: float) -> str | None:
    """Why the champion stays; None where it goes."""
    if wrong is not None and len(judged.labels) >= FEWEST_JUDGED and wrong.at_least > TOLERATED_WRONG:
        return (
            f"By what the champion knows, {wrong.share:.0%} of the labels of the {len(judged.labels)} new photos are"
            f" wrong, at the very least {wrong.at_least:.0%}. If they are right (photos chosen because it gets them"
            " wrong look the same), use --promote always."
        )
    if forgets < FORGETS:
        lost, won = _discordant(*old.outcomes())
        return (
            f"It forgets: of {len(old.labels)} known photos it gets {lost} wrong that the champion gets right, and"
            f" {won} the other way round (p = {forgets:.2g})."
        )
    if worse < WORSE:
        return f"It makes more mistakes than the champion on known and new photos together (p = {worse:.2g})."
    return None


def _praise(known: Answers, new: Answers) -> str:
    parts = [
        f"{where} it gets {challenger} of {len(answers.labels)} right, the champion {champion}"
        for where, answers in (("of photos known before", known), ("of new ones", new))
        for champion, challenger in [[int(right.sum()) for right in answers.outcomes()]]
        if len(answers.labels)
    ]
    return f"Not worse beyond noise: {'; '.join(parts) or 'there was nothing to compare on'}."


def _comparison(answers: Answers) -> ComparisonCard | None:
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


def _worse(champion: NDArray[np.bool_], challenger: NDArray[np.bool_]) -> float:
    """One-sided exact McNemar: how probable so many losses are for two that are equally good."""
    lost, won = _discordant(champion, challenger)
    return float(binom.sf(lost - 1, lost + won, 0.5))


def _discordant(champion: NDArray[np.bool_], challenger: NDArray[np.bool_]) -> tuple[int, int]:
    return int((champion & ~challenger).sum()), int((challenger & ~champion).sum())
