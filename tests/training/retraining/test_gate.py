"""The gate lets through what is no worse, and keeps out what contradicts, forgets or swallows."""

from __future__ import annotations

import numpy as np
from handful.service.artifact.card import GateCard
from handful.training.retraining.gate import AnswersToCompare, GivenCorrections, decide


def sure_of(answers: np.ndarray, labels: int, sure: float = 0.95) -> np.ndarray:
    """Probabilities (N, L) that give each answer so much."""
    probabilities = np.full((len(answers), labels), (1 - sure) / max(labels - 1, 1))
    probabilities[np.arange(len(answers)), answers] = sure
    return probabilities


def answers(
    labels: np.ndarray, champion: np.ndarray, challenger: np.ndarray, known: int, count: int = 2
) -> AnswersToCompare:
    """The champion knows the first `known` of `count` labels."""
    theirs = np.zeros((len(labels), count))
    theirs[:, :known] = sure_of(champion, known)
    return AnswersToCompare(labels, np.arange(count) < known, theirs, sure_of(challenger, count))


def right(labels: np.ndarray, known: int = 2, count: int = 2) -> AnswersToCompare:
    return answers(labels, np.minimum(labels, known - 1), labels, known, count)


def flipped(labels: np.ndarray, rows: slice) -> np.ndarray:
    changed = labels.copy()
    changed[rows] = 1 - changed[rows]
    return changed


def decided(known: AnswersToCompare, new: AnswersToCompare) -> tuple[GateCard, list[int]]:
    card, suspected = decide("colours:1", known, new)
    return card, suspected.tolist()


OLD = np.tile([0, 1], 80)
NONE = right(OLD[:0])


def test_equals_pass_and_the_card_tells_the_numbers() -> None:
    card, suspected = decided(right(OLD), right(OLD[:16]))
    assert card.passed
    assert not suspected
    assert card.known
    assert (card.known.images, card.known.champion_accuracy, card.known.challenger_accuracy) == (160, 1.0, 1.0)
    assert "of new ones it gets 16 of 16 right, the champion 16" in card.reason


def test_swapped_labels_are_not_believed_however_many_they_are() -> None:
    for count in (8, 16, 80, 300):
        labels = np.tile([0, 1], count // 2)
        for challenger in (labels, 1 - labels):  # whether or not it has learned the swap
            card, suspected = decided(right(OLD), answers(labels, 1 - labels, challenger, known=2))
            assert not card.passed
            assert "wrong" in card.reason
            assert len(suspected) == count


def test_a_few_wrong_labels_are_listed_and_do_not_stop_the_rest() -> None:
    labels = OLD[:16]
    truth = flipped(labels, slice(3, 5))
    card, suspected = decided(right(OLD), answers(labels, truth, truth, known=2))
    assert card.passed
    assert sorted(suspected) == [3, 4]


def test_photos_of_another_style_may_be_hard_for_the_champion() -> None:
    labels = OLD[:80]
    hard = AnswersToCompare(
        labels, np.ones(2, bool), sure_of(flipped(labels, slice(0, 30)), 2, 0.6), sure_of(labels, 2)
    )
    assert decided(right(OLD), hard)[0].passed


def test_too_few_photos_are_evidence_for_nothing() -> None:
    labels = OLD[:4]
    assert decided(right(OLD), answers(labels, 1 - labels, 1 - labels, known=2))[0].passed


def test_what_forgets_is_kept_back() -> None:
    card, _ = decided(answers(OLD, OLD, flipped(OLD, slice(0, 8)), known=2), right(OLD[:16]))
    assert not card.passed
    assert "forgets" in card.reason


def test_what_is_worse_on_known_photos_passes_only_with_a_gain_on_new_ones() -> None:
    three_lost = answers(OLD, OLD, flipped(OLD, slice(0, 3)), known=2)
    card, _ = decided(three_lost, right(OLD[:16]))
    assert not card.passed
    assert "no better on the new ones" in card.reason
    labels = OLD[:16]
    assert decided(three_lost, answers(labels, flipped(labels, slice(0, 2)), labels, known=2))[0].passed
    surer = AnswersToCompare(labels, np.ones(2, bool), sure_of(labels, 2, 0.7), sure_of(labels, 2))
    assert decided(three_lost, surer)[0].passed
    assert decided(right(OLD), right(labels))[0].passed


def test_a_correction_that_is_not_learned_is_no_gain() -> None:
    three_lost = answers(OLD, OLD, flipped(OLD, slice(0, 3)), known=2)
    one = AnswersToCompare(OLD[:1], np.ones(2, bool), sure_of(1 - OLD[:1], 2, 0.7), sure_of(1 - OLD[:1], 2, 0.6))
    for learned in (0, 1):
        card, _ = decide("colours:1", three_lost, one, GivenCorrections(given=1, learned=learned, settled=True))
        assert card.passed == bool(learned)


def test_corrections_that_were_believed_one_by_one_are_no_wrong_labels() -> None:
    labels = OLD[:20]
    corrected = AnswersToCompare(labels, np.ones(2, bool), sure_of(1 - labels, 2, 0.7), sure_of(labels, 2))
    assert not decided(right(OLD), corrected)[0].passed
    assert decide("colours:1", right(OLD), corrected, GivenCorrections(20, 20, settled=True))[0].passed


def test_a_new_label_passes_where_it_is_learned_and_not_where_it_swallows_another() -> None:
    third = np.full(20, 2)
    known = right(OLD, known=2, count=3)
    assert decided(known, right(third, known=2, count=3))[0].passed
    swallowed = np.where(np.arange(160) < 25, 2, OLD)
    card, _ = decided(
        answers(OLD, OLD, swallowed, known=2, count=3), answers(third, third * 0, np.tile([1, 1, 1, 1, 2], 4), 2, 3)
    )
    assert not card.passed


def test_nothing_to_compare_is_no_reason_against() -> None:
    card, _ = decided(NONE, NONE)
    assert card.passed
    assert card.known is None
    assert card.new is None
