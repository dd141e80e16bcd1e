"""Whether more photos would help, on overlapping clusters of random embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from handful.training.head.labelled import Floats, LabelledEmbeddings
from handful.training.report.learning_curve import LearningCurve, learning_curve, rank_within_label


def clusters(label_count: int, per_label: int, dimensions: int = 8, spread: float = 1.0) -> tuple[Floats, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(label_count), per_label)
    embeddings = random.normal(size=(label_count, dimensions))[labels]
    return (embeddings + random.normal(scale=spread, size=embeddings.shape)).astype(np.float32), labels


def curve_of(embeddings: Floats, labels: np.ndarray, groups: np.ndarray | None = None) -> LearningCurve | None:
    alone = np.arange(len(labels))
    data = LabelledEmbeddings(embeddings, labels, alone if groups is None else groups, int(labels.max()) + 1)
    return learning_curve(data, 1.0, 0)


def curve_with(gain: float, gain_error: float) -> LearningCurve:
    return LearningCurve((4, 8), np.full((2, 3), 0.9), gain, gain_error, images=20, thinned=False)


def test_sizes_double_up_to_a_training_part() -> None:
    curve = curve_of(*clusters(2, 20))
    assert curve is not None
    assert curve.sizes == (2, 4, 8, 16)
    assert curve.accuracy.shape == (4, 3)
    assert (curve.images, curve.thinned) == (40, False)


def test_the_same_seed_gives_the_same_curve() -> None:
    one, two = curve_of(*clusters(3, 10)), curve_of(*clusters(3, 10))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.accuracy, two.accuracy)


def test_copies_of_a_photo_teach_nothing_about_each_other() -> None:
    embeddings, labels = clusters(2, 8, dimensions=64, spread=50.0)  # nothing to learn but the copies
    fourfold, labels = np.repeat(embeddings, 4, axis=0), np.repeat(labels, 4)
    apart = curve_of(fourfold, labels, np.repeat(np.arange(16), 4))
    together = curve_of(fourfold, labels)
    assert apart is not None
    assert together is not None
    assert together.accuracy[-1].mean() > 0.95
    assert apart.accuracy[-1].mean() < 0.8


def test_many_images_are_thinned_evenly() -> None:
    curve = curve_of(*clusters(2, 2000))
    assert curve is not None
    assert curve.thinned
    assert 1000 < curve.images <= 1200


@pytest.mark.parametrize(("label_count", "per_label"), [(1000, 5), (2, 2)])
def test_too_many_labels_or_too_few_photos_give_no_curve(label_count: int, per_label: int) -> None:
    assert curve_of(*clusters(label_count, per_label)) is None


@pytest.mark.parametrize(
    ("gain", "gain_error", "trend", "words"),
    [
        (0.05, 0.01, "rising", "Probably yes"),
        (0.0, 0.005, "flat", "Probably little"),
        (0.02, 0.03, "unclear", "These photos are too few to tell"),
    ],
)
def test_the_sentence_promises_no_more_than_the_error_allows(
    gain: float, gain_error: float, trend: str, words: str
) -> None:
    curve = curve_with(gain, gain_error)
    assert curve.trend == trend
    assert curve.sentence.startswith(words)


def test_the_rank_counts_earlier_images_of_the_same_label() -> None:
    labels, order = np.array([0, 1, 0, 1, 0]), np.array([4, 3, 2, 1, 0])
    np.testing.assert_array_equal(rank_within_label(labels, order), [2, 1, 1, 0, 0])
