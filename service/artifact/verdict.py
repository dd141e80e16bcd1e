"""How far a model can be relied on, in words: from the 95 % interval of its accuracy, and what would help.

*No better than guessing*: the interval's lower end does not exceed the share of the commonest label, which is what
always answering that label gets. *Good*: of photos like these, at most one answer in ten is wrong and at most half as
many as by guessing (both for the lower end), and no label is more often missed than recognised. Everything between is
*not yet reliable*. training/LOG.md says why the lines lie there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["guessing", "not_yet", "good"]
Trend = Literal["rising", "flat", "unclear"]  # of the accuracy with the number of photos

TITLES: dict[Level, str] = {
    "guessing": "No better than guessing",
    "not_yet": "Not yet reliable",
    "good": "Good",
}
RELIABLE = 0.9  # accuracy that a good model has at least
Z = 1.959964  # of the 95 % interval
MOST_TIMES_MORE = 3  # photos than there are, that a sentence asks for
FEW = 20  # photos of a label; one with fewer is brought up to them
ROUNDED_TO = 5


class Verdict(BaseModel):
    """One of three levels, and one sentence with the reason and what would help."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Level
    sentence: str

    @property
    def title(self) -> str:
        return TITLES[self.level]


def verdict_on(
    labels: Sequence[str],
    confusion: Sequence[Sequence[int]],
    interval: tuple[float, float],
    trend: Trend | None = None,
    images_per_answer: float = 1.0,
) -> Verdict:
    """From the counts by label (row) and answer (column), the interval of the accuracy, and how it grows, if known.

    The interval counts so many images as one independent answer: more than one where they were answered out of fold.
    """
    answers = _Answers(labels, confusion, interval[0], images_per_answer)
    if answers.low <= answers.commonest_share:
        return Verdict(level="guessing", sentence=_against_guessing(answers))
    if answers.low < answers.needed or answers.missed:
        return Verdict(level="not_yet", sentence=_towards_good(answers, trend))
    return Verdict(level="good", sentence=_beyond_good(answers))


def verdict_on_one(label: str, recognised: float, refused: tuple[float, int] | None = None) -> Verdict:
    """Of a model with a single label, from the share of its own photos that it does not call unknown.

    refused: share of the photos of no label that it calls unknown, and how many there were; None: it was shown none.
    Never *good*: those few photos are not all that it may be asked about.
    """
    recognises = f"It recognises {_percent(recognised)} of the photos of {label} that it has not seen"
    if refused is None:
        return Verdict(
            level="not_yet",
            sentence=(
                f"{recognises}, and whether it refuses other things is not measured: put photos of them into a further"
                f" folder beside those of {label}, and run `handful evaluate`."
            ),
        )
    share, shown = refused
    return Verdict(
        level="not_yet",
        sentence=(
            f"{recognises}, and refuses {_percent(share)} of the {shown} photos of other things that it was shown; how"
            " it does on things of another kind is not measured."
        ),
    )


@dataclass(frozen=True)
class _Answers:
    """Counts of right and wrong answers, by label."""

    labels: Sequence[str]
    confusion: Sequence[Sequence[int]]
    low: float  # end of the interval
    images_per_answer: float

    @property
    def counts(self) -> list[int]:
        return [sum(row) for row in self.confusion]

    @property
    def right(self) -> list[int]:
        return [row[number] for number, row in enumerate(self.confusion)]

    @property
    def total(self) -> int:
        return max(sum(self.counts), 1)

    @property
    def accuracy(self) -> float:
        return sum(self.right) / self.total

    @property
    def present(self) -> list[int]:
        return [number for number, count in enumerate(self.counts) if count]

    @property
    def commonest(self) -> int:
        return max(range(len(self.labels)), key=lambda number: self.counts[number])

    @property
    def rarest(self) -> int:
        return min(self.present, key=lambda number: self.counts[number], default=0)

    @property
    def commonest_share(self) -> float:
        return self.counts[self.commonest] / self.total

    @property
    def needed(self) -> float:
        """The accuracy that a good model has at least."""
        return max(RELIABLE, (1 + self.commonest_share) / 2)

    @property
    def weakest(self) -> int:
        """The label of whose photos the smallest part is right; of several the one with fewest photos."""
        return min(self.present, key=lambda n: (self.right[n] / self.counts[n], self.counts[n]), default=0)

    @property
    def missed(self) -> bool:
        """Whether the weakest label is more often missed than recognised, beyond chance (by the same interval)."""
        count, right = self.counts[self.weakest], self.right[self.weakest]
        return count - 2 * right > Z * math.sqrt(count * self.images_per_answer)

    @property
    def lopsided(self) -> bool:
        return self.counts[self.commonest] >= 3 * self.counts[self.rarest]

    def photos_to_show(self, share: float) -> int | None:
        """So many photos put the interval's lower end at this share, if the accuracy stays; None: too many to ask for.

        Wilson's interval is the score test inverted: (accuracy - share)^2 = z^2 share (1 - share) / answers.
        """
        if self.accuracy <= share:
            return None
        photos = math.ceil(self.images_per_answer * Z**2 * share * (1 - share) / (self.accuracy - share) ** 2)
        return photos if photos <= (1 + MOST_TIMES_MORE) * self.total else None

    def more_of_each(self, photos: int) -> int:
        return _rounded((photos - self.total) / len(self.present))

    def more_of(self, label: int) -> int:
        """As many again, and at least `FEW` then."""
        return _rounded(max(self.counts[label], FEW - self.counts[label]))

    def more_of_rarest(self) -> str:
        rare = self.rarest
        return (
            f"add about {self.more_of(rare)} photos of {self.labels[rare]}, of which there are only {self.counts[rare]}"
        )

    def share_of_commonest(self, always: str) -> str:
        label, share = self.labels[self.commonest], _percent(self.commonest_share)
        return f"{always} answering {label} would be right for {share} of the photos"


def _against_guessing(answers: _Answers) -> str:
    chance = "may be chance" if answers.accuracy > answers.commonest_share else "is no more"
    measured = f"{answers.share_of_commonest('Always')}, and its own {_percent(answers.accuracy)} {chance}: "
    photos = answers.photos_to_show(answers.commonest_share)
    if answers.lopsided:
        return f"{measured}{answers.more_of_rarest()}, and check that every photo lies under the right label."
    if photos is not None:
        return (
            f"{measured}{answers.total} photos are too few to tell the two apart; add about"
            f" {answers.more_of_each(photos)} of each label."
        )
    return (
        f"{measured}check that each folder holds what its name says, and that a person could tell the labels apart by"
        " the photo alone."
    )


def _towards_good(answers: _Answers, trend: Trend | None) -> str:
    label = answers.weakest
    name, count, right = answers.labels[label], answers.counts[label], answers.right[label]
    if answers.missed:
        more = answers.more_of(label)
        return f"It recognises {right or 'none'} of the {count} photos of {name}: add about {more} more of them."
    if answers.low >= RELIABLE:  # so the share of the commonest label is what it falls short of
        own = f"{_percent(answers.accuracy)} are answered right"
        return f"{own}, but {answers.share_of_commonest('always')}: {answers.more_of_rarest()}."
    photos = answers.photos_to_show(answers.needed)
    if photos is not None:
        return (
            f"{answers.total} photos are few: its accuracy, {_percent(answers.accuracy)} on them, could really be"
            f" {_percent(answers.low)}; if about {answers.more_of_each(photos)} more of each label are answered as"
            " well, it is good."
        )
    row = answers.confusion[label]
    other = max((n for n in range(len(row)) if n != label), key=lambda n: row[n])
    wrong = f"Of the {count} photos of {name}, {count - right} are answered wrongly, most often as"
    return f"{wrong} {answers.labels[other]} ({row[other]}): {_help(trend, name, answers.more_of(label))}"


def _help(trend: Trend | None, name: str, more: int) -> str:
    if trend == "rising":
        return f"more photos still help, so add about {more} of {name} first."
    if trend == "flat":
        return (
            f"more photos like these will hardly help, so look at the mistakes, and add about {more} photos of {name}"
            " that differ from those there are."
        )
    return f"look at the mistakes, and add about {more} photos of {name}."


def _beyond_good(answers: _Answers) -> str:
    return (
        f"Of 100 photos like these, probably at least {math.floor(100 * answers.low)} are answered right;"
        " `handful evaluate` measures how it does on photos of another style, place or camera."
    )


def _rounded(count: float) -> int:
    return max(1, math.ceil(count / ROUNDED_TO)) * ROUNDED_TO


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
