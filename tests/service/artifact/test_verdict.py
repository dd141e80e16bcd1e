"""What is said about a model's accuracy: the level and the advice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from handful.service.artifact.card import parse_card
from handful.service.artifact.verdict import TITLES, Level, Trend, Verdict, verdict_on
from handful.training.metrics import FOLD_VARIANCE, interval_of_folds, wilson_interval

TWELVE = [f"label {number}" for number in range(12)]
BAGS = ["bags", "shoes"]
ARTIFACT_1 = Path(__file__).parents[2] / "fixtures/artifact-1"


def verdict_of(labels: list[str], confusion: list[list[int]], trend: Trend | None = None) -> Verdict:
    counts = np.array(confusion)
    return verdict_on(labels, confusion, wilson_interval(int(np.trace(counts)), int(counts.sum())), trend)


def alike(right: int, per_label: int) -> list[list[int]]:
    """Twelve labels, each with as many photos; `right` answers are right in all, the others are spread."""
    counts = np.zeros((12, 12), dtype=int)
    for row in range(12):
        hits = right // 12 + (row < right % 12)
        counts[row, row] = hits
        for number in range(per_label - hits):
            counts[row, (row + 1 + number % 11) % 12] += 1
    result: list[list[int]] = counts.tolist()
    return result


def test_twelve_labels_that_cannot_be_told_apart() -> None:
    """7.3 % where guessing gives 8.3 %: no photos are asked for, because none would help."""
    verdict = verdict_of(TWELVE, alike(right=70, per_label=80))
    assert verdict.level == "guessing"
    assert verdict.title == "No better than guessing"
    assert "Always answering label 0 would be right for 8.3 %" in verdict.sentence
    assert "its own 7.3 % is no more" in verdict.sentence
    assert "check that each folder holds what its name says" in verdict.sentence


def test_two_labels_that_can_be_told_apart() -> None:
    verdict = verdict_of(BAGS, [[114, 6], [3, 117]])
    assert verdict.level == "good"
    assert verdict.sentence.startswith("Of 100 photos like these, probably at least 93 are answered right")


@pytest.mark.parametrize(
    ("confusion", "level", "words"),
    [
        ([[95, 0], [5, 0]], "guessing", "add about 15 photos of shoes, of which there are only 5"),
        ([[95, 0], [2, 3]], "guessing", "add about 15 photos of shoes, of which there are only 5"),
        ([[95, 0], [0, 5]], "not_yet", "bags would be right for 95.0 % of the photos: add about 15 photos of shoes"),
        ([[900, 10], [70, 20]], "guessing", "add about 90 photos of shoes"),
        ([[5, 0], [0, 5]], "not_yet", "10 photos are few: its accuracy, 100.0 % on them, could really be 72.2 %"),
        ([[5, 0], [0, 5]], "not_yet", "if about 15 more of each label"),
        ([[4, 1], [1, 4]], "guessing", "10 photos are too few to tell the two apart; add about 5 of each label"),
        ([[50, 50], [50, 50]], "guessing", "a person could tell the labels apart"),
    ],
)
def test_few_photos_and_imbalanced_folders(confusion: list[list[int]], level: Level, words: str) -> None:
    verdict = verdict_of(BAGS, confusion)
    assert verdict.level == level
    assert words in verdict.sentence


def test_the_promised_number_of_photos_is_enough() -> None:
    """As many again and as well answered as the sentence says: then the model is good."""
    verdict = verdict_of(BAGS, [[12, 0], [0, 12]])
    assert (verdict.level, "about 10 more of each label" in verdict.sentence) == ("not_yet", True)
    assert verdict_of(BAGS, [[22, 0], [0, 22]]).level == "good"


def test_answers_out_of_fold_count_for_less() -> None:
    """The same counts, and an interval that takes one and a half photos for one answer."""
    counts = [[19, 0], [0, 19]]
    assert verdict_on(BAGS, counts, wilson_interval(38, 38)).level == "good"
    verdict = verdict_on(BAGS, counts, interval_of_folds(38, np.arange(38)), images_per_answer=FOLD_VARIANCE)
    assert (verdict.level, "about 10 more of each label" in verdict.sentence) == ("not_yet", True)
    more = [[29, 0], [0, 29]]
    assert verdict_on(BAGS, more, interval_of_folds(58, np.arange(58)), images_per_answer=FOLD_VARIANCE).level == "good"


def test_a_label_that_is_missed_is_not_hidden_by_the_others() -> None:
    confusion = [[100, 0, 0], [0, 100, 0], [4, 1, 0]]
    verdict = verdict_of([*BAGS, "hats"], confusion)
    assert verdict.level == "not_yet"
    assert "none of the 5 photos of hats: add about 15 more" in verdict.sentence
    assert verdict_of([*BAGS, "hats"], [[100, 0, 0], [0, 100, 0], [1, 1, 3]]).level == "good"


@pytest.mark.parametrize(
    ("trend", "words"),
    [
        ("rising", "more photos still help, so add about 80 of bags first"),
        ("flat", "more photos like these will hardly help"),
        ("unclear", "look at the mistakes, and add about 80 photos of bags"),
        (None, "look at the mistakes, and add about 80 photos of bags"),
    ],
)
def test_the_advice_follows_the_learning_curve(trend: Trend | None, words: str) -> None:
    verdict = verdict_of(BAGS, [[70, 10], [5, 75]], trend)
    assert verdict.level == "not_yet"
    assert verdict.sentence.startswith("Of the 80 photos of bags, 10 are answered wrongly, most often as shoes (10)")
    assert words in verdict.sentence


def test_more_right_answers_never_make_the_level_worse() -> None:
    levels = [list(TITLES).index(verdict_of(BAGS, [[right, 100 - right], [0, 100]]).level) for right in range(101)]
    assert levels == sorted(levels)
    assert set(levels) == {0, 1, 2}


def test_a_card_from_before_verdicts_gets_one_from_its_counts() -> None:
    path = ARTIFACT_1 / "card.json"
    text = path.read_text(encoding="utf-8")
    assert "verdict" not in json.loads(text)
    card = parse_card(text, path)
    assert card.verdict == verdict_of(list(card.labels), card.cross_validation.confusion)
