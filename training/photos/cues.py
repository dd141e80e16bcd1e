"""What numbers about a photo, none of which shows its object, tell about its label.

A folder whose labels come from different cameras or places can be told apart by them, and the accuracy then says little
about other photos (Geirhos et al. 2020 call this shortcut learning). Each cue is tried alone: a small decision tree,
which must answer photos that it has not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from handful.training.photos.cue_numbers import COLUMNS, Numbers
from handful.training.photos.inspection import Inspected
from pydantic import BaseModel, ConfigDict, Field

MOST_NAMED = 2  # in the sentence; the report lists all
WORDS = {
    "brightness": "brightness",
    "sharpness": "sharpness or blur",
    "shape": "shape of the picture",
    "background": "colour along the edges",
    "file size": "size of the file",
}
MOST_IMAGES = 4000  # that the trees learn from, so that it takes a second at most
LEAST_PER_LABEL = 8  # photos; with fewer the folds tell nothing
LEVEL = 0.99  # of the interval: with five cues tried, a harmless folder is warned about once in forty at most
MATTERS = 0.5  # share of the mistakes of guessing that a cue spares


class CueResult(BaseModel):
    """How well one cue alone tells the labels apart, on photos that the tree had not seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cue: str
    accuracy: float
    accuracy_ci99: tuple[float, float] = Field(description="Wilson's 99 % interval, as five cues are tried")
    commonest: float = Field(description="share of the commonest label: what guessing gets")
    matters: bool = Field(description="better than guessing beyond chance, with at most half of its mistakes")


def cue_results(inspected: Inspected, seed: int) -> tuple[CueResult, ...]:
    """One per cue; none where there is one label, where photos are few, or where an older version kept no numbers."""
    counts = np.bincount(inspected.label_index, minlength=len(inspected.labels))
    numbers = [image.cues for image in inspected.images if image.cues is not None]
    if len(counts) < 2 or counts.min() < LEAST_PER_LABEL or len(numbers) < len(inspected.images):
        return ()
    random = np.random.default_rng(seed)
    rows = np.sort(random.permutation(len(numbers))[:MOST_IMAGES])
    measured, labels = np.stack(numbers)[rows], inspected.label_index[rows]
    tests = _fold_numbers(labels, inspected.groups[rows], random)
    return tuple(_result(cue, measured[:, columns], labels, tests) for cue, columns in COLUMNS.items())


def _fold_numbers(labels: np.ndarray, groups: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(N,) of five folds; the labels are spread evenly, and near-duplicates stay together."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = random.permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]
    folds = np.empty(len(first), dtype=np.intp)
    folds[order] = np.arange(len(first)) % 5
    return folds[group]


def _result(cue: str, numbers: Numbers, labels: np.ndarray, tests: np.ndarray) -> CueResult:
    from scipy.stats import binomtest
    from sklearn.tree import DecisionTreeClassifier

    leaves = 2 * len(np.unique(labels))
    tree = DecisionTreeClassifier(max_leaf_nodes=max(4, leaves), min_samples_leaf=3, random_state=0)
    right = np.zeros(len(labels), dtype=bool)
    for number in np.unique(tests):
        test = tests == number
        right[test] = tree.fit(numbers[~test], labels[~test]).predict(numbers[test]) == labels[test]
    interval = binomtest(int(right.sum()), len(right)).proportion_ci(LEVEL, method="wilson")
    commonest = float(np.bincount(labels).max() / len(labels))
    accuracy = float(right.mean())
    return CueResult(
        cue=cue,
        accuracy=accuracy,
        accuracy_ci99=(float(interval.low), float(interval.high)),
        commonest=commonest,
        matters=bool(interval.low > commonest and 1 - accuracy <= MATTERS * (1 - commonest)),
    )


def cue_sentence(results: tuple[CueResult, ...]) -> str | None:
    """What to know and to do where a cue matters; None where none does."""
    return sentence_about([result.model_dump() for result in results])


def sentence_about(results: list[dict[str, Any]]) -> str | None:
    """The same, from a command's JSON."""
    telling = sorted((each for each in results if each["matters"]), key=lambda each: -each["accuracy"])
    if not telling:
        return None
    listed = [f"{WORDS[each['cue']]} ({each['accuracy']:.0%} right)" for each in telling[:MOST_NAMED]]
    return (
        f"These photos can be told apart without looking at the objects: by the {' or the '.join(listed)} alone, where"
        f" guessing is right for {telling[0]['commonest']:.0%}. If the model has learned that instead, it will be"
        " worse on other photos: take photos of every label in the same ways, and measure it with `handful evaluate` on"
        " photos from another camera and place."
    )
