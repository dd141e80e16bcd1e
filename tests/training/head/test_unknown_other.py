"""Photos of no label and generated pictures move the line between labels and strangers."""

from __future__ import annotations

import numpy as np
import pytest
from handful.service.artifact.errors import ArtifactInconsistent
from handful.service.artifact.unknown import OTHER_WEIGHT, TAUGHT, UnknownDetector
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.unknown import (
    MIN_OTHER,
    OF_GENERIC,
    FittedUnknown,
    Strangers,
    fit_unknown,
    out_of_fold_scores,
)

D = 40
LABELS = np.repeat([0, 1], 40)


def photos(centre: np.ndarray, count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.maximum(centre + 0.15 * random.normal(size=(count, D)), 0).astype(np.float32)


def direction(*parts: float) -> np.ndarray:
    return np.pad(np.array(parts), (0, D - len(parts))) + 0.3


DATA = LabelledEmbeddings(
    np.concatenate([photos(direction(3, 0.5), 40, 0), photos(direction(0.5, 3), 40, 1)]), LABELS, np.arange(80), 2
)
NOTHING = np.empty((0, D), np.float32)


def fitted(
    generic: np.ndarray = NOTHING, other: np.ndarray = NOTHING, groups: np.ndarray | None = None
) -> FittedUnknown:
    known = out_of_fold_scores(DATA, Folds.make(DATA.labels, DATA.groups, seed=0))
    groups = np.arange(len(other)) if groups is None else groups
    return fit_unknown(DATA, known, Strangers(generic, other, groups))


def near(count: int, seed: int) -> np.ndarray:
    return photos(direction(3, 0.5, 1), count, seed)


def test_photos_of_no_label_teach_what_is_refused() -> None:
    new, own = near(60, 9), photos(direction(3, 0.5), 60, 8)
    untaught, taught = fitted(), fitted(other=near(MIN_OTHER, 7))
    before, after = (each.detector.is_unknown(new).mean() for each in (untaught, taught))
    assert before < 0.9 < 0.97 <= after
    assert taught.detector.is_unknown(own).mean() <= 0.05
    assert (taught.known > taught.detector.threshold).mean() <= 0.03


def test_too_few_different_photos_teach_nothing() -> None:
    same = near(MIN_OTHER, 7)
    twins = fitted(other=same, groups=np.minimum(np.arange(MIN_OTHER), MIN_OTHER - 2))
    assert twins.detector.other is None
    assert twins.detector.threshold == fitted().detector.threshold
    assert len(twins.other) == MIN_OTHER  # they are measured all the same


def test_a_photo_of_no_label_is_scored_by_the_others() -> None:
    other, groups = near(8, 3), np.array([0, 0, 1, 2, 3, 4, 5, 6])
    unit = other / np.linalg.norm(other, axis=1, keepdims=True)
    rest = UnknownDetector.of(fitted().detector.directions, 0.0, unit[2:].mean(axis=0))
    assert fitted(other=other, groups=groups).other[:2] == pytest.approx(rest.score(other[:2]), abs=1e-5)


def test_one_odd_photo_among_them_does_not_open_the_door() -> None:
    other = near(30, 4)
    other[0] = photos(direction(3, 0.5), 1, 5)[0]  # a photo of a label, by mistake
    assert fitted(other=other).detector.is_unknown(near(60, 9)).mean() >= 0.97


def test_generic_pictures_move_the_line_with_them() -> None:
    far, nearer = (photos(direction(*parts), 24, 6) for parts in ((1, 1, 1, 1, 1, 1, 1, 1), (2, 2)))
    lines = [fitted(generic=each).detector for each in (far, nearer)]
    assert lines[1].threshold <= lines[0].threshold
    known = fitted().known
    typical, nearest = np.median(known), np.quantile(known, 0.98)
    for line, generic in zip(lines, (far, nearer), strict=True):
        wanted = OF_GENERIC * UnknownDetector.of(line.directions, 0.0).score(generic).mean()
        assert line.threshold <= max(wanted, nearest) + 1e-6
        assert line.threshold <= 2 * nearest - typical + 1e-6


def test_the_taught_score_adds_the_likeness_to_the_mean() -> None:
    means, other = np.eye(2, 4, dtype=np.float32), np.array([0, 0, 2, 0], np.float32)
    detector = UnknownDetector.of(means, 0.5, other, other_least=0.25)
    assert detector.score(np.eye(4, dtype=np.float32) * 3).tolist() == [0.25, 0.25, 1 + OTHER_WEIGHT, 1.25]
    restored = UnknownDetector.from_parts(detector.tensors, detector.settings)
    assert (restored.other_least, restored.threshold) == (0.25, 0.5)
    assert restored.score(means).tolist() == detector.score(means).tolist()


def test_what_resembles_neither_labels_nor_others_is_unknown_too() -> None:
    far = photos(direction(1, 1, 0, 0, 3), 60, 11)
    taught = fitted(generic=photos(direction(1, 1, 1, 1, 1, 1, 1, 1), 24, 6), other=near(12, 7)).detector
    assert taught.is_unknown(far).mean() >= 0.97


def test_a_taught_method_without_its_tensor_is_refused() -> None:
    with pytest.raises(ArtifactInconsistent, match=r"unknown\.other"):
        UnknownDetector.from_parts(fitted().detector.tensors, {"method": TAUGHT, "threshold": 0.5})
