"""Which photos to label next: `handful suggest` against random photos and against those of the least margin.

Embeddings are made once. Of each draw a third of the photos is kept for measuring; from two labelled photos per label
on, each way names `BATCH` further photos, gets their labels and learns, until it has `BATCHES` times as many.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from handful.training.head.calibration import calibrated, fit_temperature
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.selection import HeadSettings, fit_head
from handful.training.suggest.coverage import Coverage
from handful.training.suggest.doubts import FEW, margins, worth
from numpy.typing import NDArray

from benchmarks.bench import Bench
from benchmarks.intervals import embedded
from benchmarks.sections import Section, judged
from benchmarks.timing import table

FIRST, BATCH, BATCHES, DRAWS = 2, 5, 10, 20  # photos per label; photos; batches; draws
GOAL = 0.97  # accuracy
HEAD = HeadSettings(kind="linear", strengths=(3.0,), means=(50.0,))

Rows = NDArray[np.intp]
Way = Callable[["Draw", Rows, NDArray[np.float64]], Rows]


class Draw:
    """N photos, divided once: rows to measure on, and a pool whose labels are asked for."""

    def __init__(self, embeddings: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> None:
        self.embeddings, self.labels, self.random = embeddings, labels, np.random.default_rng(seed)
        order = self.random.permutation(len(labels))
        self.test, self.pool = order[: len(order) // 3], order[len(order) // 3 :]
        self.count = int(labels.max()) + 1

    def run(self, way: Way) -> list[float]:
        """Accuracy on the test rows after each batch."""
        known = np.concatenate([self.pool[self.labels[self.pool] == label][:FIRST] for label in range(self.count)])
        accuracies = []
        for _ in range(BATCHES + 1):
            head, temperature = self._learned(known)
            accuracies.append(float((head(self.test).argmax(axis=1) == self.labels[self.test]).mean()))
            chosen = way(self, known, calibrated(head(self._rest(known)), temperature))
            known = np.concatenate([known, chosen])
        return accuracies

    def _rest(self, known: Rows) -> Rows:
        return self.pool[~np.isin(self.pool, known)]

    def _learned(self, known: Rows) -> tuple[Callable[[Rows], NDArray[np.float32]], float]:
        data = LabelledEmbeddings(self.embeddings[known], self.labels[known], np.arange(len(known)), self.count)
        fitted = fit_head(data, Folds.make(data.labels, data.groups, 0), HEAD, 0)
        temperature = fit_temperature(fitted.out_of_fold_logits, data.labels)
        return lambda rows: fitted.logits(self.embeddings[rows]), temperature

    def at_random(self, known: Rows, _: NDArray[np.float64]) -> Rows:
        return self.random.permutation(self._rest(known))[:BATCH]

    def by_margin(self, known: Rows, shares: NDArray[np.float64]) -> Rows:
        return self._rest(known)[np.argsort(margins(shares), kind="stable")[:BATCH]]

    def suggested(self, known: Rows, shares: NDArray[np.float64]) -> Rows:
        """As `handful suggest` chooses, filled up at random where all others are near-duplicates."""
        rest = self._rest(known)
        weighted = len(known) >= FEW * self.count
        weights = worth(margins(shares), np.zeros(len(rest), bool)) if weighted else None
        coverage = Coverage(self.embeddings[rest], weights)
        coverage.know(self.embeddings[known])
        chosen = rest[coverage.choose(BATCH)]
        others = self.random.permutation(np.setdiff1d(rest, chosen))
        return np.concatenate([chosen, others[: BATCH - len(chosen)]])


WAYS: dict[str, Way] = {"random": Draw.at_random, "least margin": Draw.by_margin, "suggest": Draw.suggested}


def run(bench: Bench) -> Section:
    """Target: 97 % with at most half of the labels that random photos need."""
    inspected = embedded(bench)
    embeddings, labels = inspected.embeddings, np.asarray(inspected.label_index)
    seeds = range(2 if bench.quick else DRAWS)
    curves = {
        name: np.array([Draw(embeddings, labels, seed).run(way) for seed in seeds]) for name, way in WAYS.items()
    }  # (draws, batches + 1)
    counts = FIRST * len(inspected.labels) + BATCH * np.arange(BATCHES + 1)
    needed = {name: labels_for(curve.mean(axis=0), counts) for name, curve in curves.items()}
    rows = [
        [name, *(f"{100 * a:.1f}" for a in curve.mean(axis=0)), _told(needed[name])] for name, curve in curves.items()
    ]
    text = (
        f"{len(labels)} photos of {len(inspected.labels)} labels, the built-in network; accuracy in per cent on a third"
        f" that was kept apart, mean of {len(seeds)} draws, by the number of labelled photos. Standard error at most"
        f" {max(100 * curve.std(axis=0).max() / np.sqrt(len(curve)) for curve in curves.values()):.1f} points.\n\n"
    )
    text += table(["labelled by", *map(str, counts), f"labels to {GOAL:.0%}"], rows)
    ours, chance = needed["suggest"], needed["random"]
    target = judged(
        "labels that suggest needs",
        f"half of random's to {GOAL:.0%}",
        f"{_told(ours)} against {_told(chance)}",
        reached=ours is not None and (chance is None or 2 * ours <= chance) and (chance or counts[-1]) >= 2 * ours,
        why="on easy folders random photos reach it soon, too",
    )
    return Section(title="Which photos to label next", text=text, targets=[target])


def labels_for(means: NDArray[np.float64], counts: NDArray[np.intp]) -> float | None:
    """How many labels the mean accuracy needs for the goal, on a straight line between two batches; None: more."""
    reached = np.flatnonzero(means >= GOAL)
    if not len(reached):
        return None
    last = int(reached[0])
    return (
        float(counts[0])
        if not last
        else float(np.interp(GOAL, means[last - 1 : last + 1], counts[last - 1 : last + 1]))
    )


def _told(needed: float | None) -> str:
    return "more" if needed is None else f"{needed:.0f}"
