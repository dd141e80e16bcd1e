"""What is chosen covers what is there, once, and the same whatever the block that it is computed in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from handful.training.suggest import coverage
from handful.training.suggest.coverage import Coverage
from handful.training.suggest.doubts import LEAST_WORTH, margins, worth


def heaps(count: int, each: int, seed: int = 0) -> np.ndarray:
    """`count` heaps of `each` photos, (count * each, 32) float32, heap by heap."""
    random = np.random.default_rng(seed)
    centres = 4 * random.normal(size=(count, 32))
    return (np.repeat(centres, each, axis=0) + random.normal(size=(count * each, 32))).astype(np.float32)


def test_each_heap_is_asked_for_before_any_twice() -> None:
    chosen = Coverage(heaps(8, 20)).choose(8)
    assert sorted(row // 20 for row in chosen) == list(range(8))


def test_what_is_known_is_not_asked_for_again() -> None:
    embeddings = heaps(8, 20)
    cover = Coverage(embeddings)
    cover.know(embeddings[:60:20])
    assert sorted(row // 20 for row in cover.choose(5)) == [3, 4, 5, 6, 7]


def test_near_duplicates_are_chosen_once() -> None:
    embeddings = heaps(3, 4)
    copies = np.concatenate([embeddings, embeddings + np.float32(0.01)])
    chosen = Coverage(copies).choose(24)
    assert len({row % 12 for row in chosen}) == len(chosen) > 3


def test_photos_that_are_known_are_near_duplicates_of_themselves() -> None:
    embeddings = heaps(3, 4)
    cover = Coverage(embeddings)
    cover.know(embeddings)
    assert cover.choose(5) == []


def test_doubt_leads_to_the_heap_that_has_it() -> None:
    weights = np.full(160, LEAST_WORTH, np.float32)
    weights[100:120] = 1
    assert Coverage(heaps(8, 20), weights).choose(1)[0] // 20 == 5


def test_lazy_choices_are_those_of_a_full_search() -> None:
    """Against the definition: at each step every gain is computed."""
    embeddings = heaps(6, 15, seed=3)
    embeddings += 3 * np.random.default_rng(4).normal(size=embeddings.shape).astype(np.float32)
    cover = Coverage(embeddings)
    unit = embeddings - embeddings.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    kernel = np.exp((unit @ unit.T - 1) / coverage.WIDTH)
    covered, taken = np.zeros(90), list[int]()
    for row in cover.choose(20):
        gains = np.maximum(kernel - covered, 0).sum(axis=1)
        if taken:
            gains[(unit @ unit[taken].T).max(axis=1) >= coverage.SAME] = -1
        assert gains[row] == pytest.approx(gains.max(), rel=1e-4)
        taken.append(row)
        covered = np.maximum(covered, kernel[row])
    assert len(taken) == 20
    assert cover.share == pytest.approx(covered.mean(), rel=1e-4)


def test_the_share_that_is_covered_only_grows() -> None:
    cover = Coverage(heaps(8, 20))
    shares = [cover.share]
    for _ in range(6):
        cover.choose(2)
        shares.append(cover.share)
    assert all(before < after for before, after in pairwise(shares))


def test_more_photos_than_a_block_or_a_sample_holds() -> None:
    """10,000 rows in heaps of unequal size: the sample of references finds each of the ten."""
    chosen = Coverage(heaps(10, 1000)).choose(10)
    assert len({row // 1000 for row in chosen}) == 10


def test_worth_is_doubt_and_what_resembles_nothing() -> None:
    margin = margins(np.array([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25], [1.0, 0.0, 0.0]]))
    assert margin == pytest.approx([0.8, 0.05, 1.0])
    assert worth(margin, np.array([True, False, False])) == pytest.approx([1.0, 0.95, LEAST_WORTH])
