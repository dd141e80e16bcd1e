"""The loss of a linear head: the cheaper way of large problems finds what the usual way finds."""

from __future__ import annotations

import numpy as np
import pytest
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.linear import OutOfFoldLinear
from handful.training.head.objective import LargeObjective, Objective, is_large
from handful.training.head.selection import CHOOSING_FOLDS, HeadSettings, _linear_candidates, _on_all_folds, fit_head
from scipy.optimize import check_grad

LABELS, PHOTOS = 12, 240
KINDS = (Objective, LargeObjective)


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs with a one (N, 21), labels (N,), the labels present and the photos' weights (N,)."""
    random = np.random.default_rng(0)
    labels = np.arange(PHOTOS) % LABELS
    inputs = random.normal(size=(PHOTOS, 20)) / 5 + random.normal(size=(LABELS, 20))[labels] / 6
    with_one = np.column_stack([inputs, np.ones(PHOTOS)]).astype(np.float32)
    weights = random.uniform(0.5, 1.5, PHOTOS).astype(np.float32)
    return with_one, labels, np.arange(LABELS), weights / weights.sum()


@pytest.mark.parametrize("penalty", [1e-2, 1e-4])
def test_both_ways_give_the_same_loss_and_gradient(penalty: float) -> None:
    start = np.random.default_rng(1).normal(size=LABELS * 21)
    [loss, gradient], [same_loss, same_gradient] = (kind(*problem())(start, penalty) for kind in KINDS)
    assert same_loss == pytest.approx(loss, rel=1e-5)
    assert np.allclose(gradient, same_gradient, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_loss(kind: type[Objective]) -> None:
    objective, start = kind(*problem()), np.random.default_rng(1).normal(size=LABELS * 21)
    off = check_grad(lambda x: objective(x, 1e-3)[0], lambda x: objective(x, 1e-3)[1], start, epsilon=1e-2)
    assert off < 0.01 * np.linalg.norm(objective(start, 1e-3)[1])


def test_both_ways_find_the_same_minimum_at_one_strength_after_another() -> None:
    usual, large = (kind(*problem()) for kind in KINDS)
    a = b = np.zeros((LABELS, 21))
    for penalty in (1e-3, 1e-4, 1e-5):
        a, b = usual.minimum(a, penalty), large.minimum(b, penalty)
        least, ours = usual(a.ravel(), penalty)[0], usual(b.ravel(), penalty)[0]
        assert ours == pytest.approx(least, abs=2e-3)


def test_the_folds_that_chose_keep_their_answers_and_the_others_give_theirs() -> None:
    inputs, labels, present, _ = problem()
    data = LabelledEmbeddings(inputs, labels, np.arange(PHOTOS), len(present))
    folds = Folds.make(labels, data.groups, seed=0)
    settings = HeadSettings(strengths=(3.0,), means=(50.0,))
    [candidate] = _linear_candidates(data, folds.first_folds(CHOOSING_FOLDS), settings)
    [logits] = OutOfFoldLinear(data, folds).logits(3.0, [50.0])
    assert np.array_equal(_on_all_folds(candidate, data, folds).out_of_fold_logits, logits)


@pytest.mark.slow
def test_a_large_problem_is_answered_out_of_fold_by_every_fold() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(2400) % 400
    embeddings = random.normal(size=(400, 1050))[labels] + 3 * random.normal(size=(2400, 1050)) + 1
    data = LabelledEmbeddings(embeddings.astype(np.float32), labels, np.arange(2400), 400)
    assert is_large(data)
    assert not is_large(data.take(np.arange(1200)))
    folds = Folds.make(labels, data.groups, seed=0)
    head = fit_head(data, folds, HeadSettings(strengths=(3.0,)), seed=0)
    right = head.out_of_fold_logits.argmax(axis=1) == labels
    shares = [float(right[fold.test].mean()) for fold in folds]
    assert min(shares) > 0.5 * max(shares) > 0.1, shares
