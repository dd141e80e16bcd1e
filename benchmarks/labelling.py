"""Ten minutes on the screen Label, simulated: how many of 10,000 photos are rightly labelled after 300 clicks.

The photos are crops and colour changes of the benchmarks' photos (`variants.py`). A person starts without a model, sees
rows of a dozen as the screen deals them, and never errs. A click takes two seconds and is one photo that gets another
label than the row's, or one row that is accepted; before the first model every photo is a click. Learning goes on
beside it, and its answers come ten seconds after it began. In the end the photos that were seen have a person's label,
all others the model's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from handful.service.artifact.image_files import images
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.selection import HeadSettings, fit_head
from numpy.typing import NDArray

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.intervals import embedded
from benchmarks.sections import Section, judged
from benchmarks.timing import table
from benchmarks.variants import variants

PHOTOS, QUICK_PHOTOS = 10_000, 1000
CLICKS, CLICK_SECONDS, LEARN_SECONDS = 300, 2.0, 10.0
ROW, LEARN_AFTER = 12, 24  # as in label.js
DRAWS = 5
GOAL = 0.99
SHOWN = (50, 100, 150, 200, 250, CLICKS)
HEAD = HeadSettings(kind="linear", strengths=(3.0,), means=(50.0,))

Shares = NDArray[np.float64]


class Moment(NamedTuple):
    """After so many clicks: how many photos a person has seen, and the share of all that is right."""

    clicks: int
    seen: int
    right: float
    right_of_rest: float


class Person:
    """Labels N photos on the screen. `known` are those with a label, in order."""

    def __init__(self, embeddings: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> None:
        self.embeddings, self.labels = embeddings, labels
        self.count = int(labels.max()) + 1
        self.order = np.random.default_rng(seed).permutation(len(labels))
        self.waiting = np.ones(len(labels), bool)
        self.known: list[int] = []
        self.clicks, self.since = 0, 0
        self.shares: Shares | None = None  # the model's, of all photos
        self._learned: tuple[float, list[int]] | None = None  # when the answers of a learning come, and what it learns

    def run(self, clicks: int) -> list[Moment]:
        moments = []
        for until in (each for each in SHOWN if each <= clicks):
            while self.clicks < until and self.waiting.any():
                self._row()
            moments.append(self._moment())
        return moments

    def _row(self) -> None:
        self._take_answers()
        if self.shares is None:
            row = self.order[self.waiting[self.order]][:ROW]
            self.clicks += len(row)
        else:
            row = self._dealt(self.shares)
            answer = self.shares[row].argmax(axis=1)
            wrong = int((answer != self.labels[row]).sum())
            self.clicks += wrong + (wrong < len(row))
        self.waiting[row] = False
        self.known += row.tolist()
        self.since += len(row)
        if self.since >= LEARN_AFTER and self._learned is None and self._has_two():
            self._learned, self.since = (self.clicks + LEARN_SECONDS / CLICK_SECONDS, list(self.known)), 0

    def _dealt(self, shares: Shares) -> NDArray[np.intp]:
        """As `deal` of label.js: photos of one answer, that of the greatest doubt, and of these the least sure."""
        left = np.flatnonzero(self.waiting)
        answers, surety = shares[left].argmax(axis=1), shares[left].max(axis=1)
        order = np.argsort(surety, kind="stable")
        return np.asarray(left[order[answers[order] == answers[order[0]]][:ROW]])

    def _take_answers(self) -> None:
        if self._learned and self.clicks >= self._learned[0]:
            rows = np.array(self._learned[1])
            self._learned = None
            data = LabelledEmbeddings(self.embeddings[rows], self.labels[rows], np.arange(len(rows)), self.count)
            fitted = fit_head(data, Folds.make(data.labels, data.groups, 0), HEAD, 0)
            temperature = fit_temperature(fitted.out_of_fold_logits, data.labels)
            self.shares = calibrated(fitted.logits(self.embeddings), temperature)

    def _has_two(self) -> bool:
        """Whether each label has enough photos for the folds; training asks for five."""
        return bool((np.bincount(self.labels[self.known], minlength=self.count) >= 5).all())

    def _moment(self) -> Moment:
        right = ~self.waiting
        rest = 0.0
        if self.shares is not None:
            answered = self.shares.argmax(axis=1) == self.labels
            rest = float(answered[self.waiting].mean()) if self.waiting.any() else 1.0
            right = right | answered
        return Moment(self.clicks, int((~self.waiting).sum()), float(right.mean()), rest)


def run(bench: Bench) -> Section:
    """Target: 99 % of 10,000 at no more than 300 clicks."""
    inspected = embedded(bench, folder=variants(bench, QUICK_PHOTOS if bench.quick else PHOTOS))
    labels = np.asarray(inspected.label_index)
    draws = [Person(inspected.embeddings, labels, seed).run(CLICKS) for seed in range(1 if bench.quick else DRAWS)]
    rows = [
        [
            str(SHOWN[place]),
            f"{SHOWN[place] * CLICK_SECONDS / 60:.1f}",
            f"{np.mean([each.seen for each in moments]):,.0f}",
            f"{100 * np.mean([each.right_of_rest for each in moments]):.2f}",
            f"{100 * np.mean([each.right for each in moments]):.2f}",
            f"{100 * min(each.right for each in moments):.2f}",
        ]
        for place, moments in enumerate(zip(*draws, strict=True))
    ]
    originals = len(list(images(photos.source(bench))))
    worst = min(draw[-1].right for draw in draws)
    text = (
        f"{len(labels):,} crops and colour changes of {originals} photos of {len(inspected.labels)} labels, so that"
        f" most have a like among those that were seen; the built-in network, mean of {len(draws)} draws. A row that"
        " begins before the last click is finished.\n\n"
    )
    columns = ["clicks", "minutes", "photos seen", "of the others right (%)", "of all right (%)", "in the worst draw"]
    target = judged(
        f"rightly labelled after {CLICKS} clicks",
        f"{GOAL:.0%} of {PHOTOS:,}",
        f"{np.mean([draw[-1].right for draw in draws]):.2%}, at worst {worst:.2%}",
        reached=worst >= GOAL,
        why="what is left are photos that the network does not tell apart",
    )
    return Section(title="Ten minutes of labelling", text=text + table(columns, rows), targets=[target])
