"""Where the line is drawn between labels and strangers."""

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.unknown import fit_unknown, out_of_fold_scores


def directions(centres: np.ndarray, images_per_centre: int, seed: int, noise: float = 0.25) -> np.ndarray:
    random = np.random.default_rng(seed)
    noisy = np.repeat(centres, images_per_centre, axis=0)
    return (noisy + noise * random.normal(size=noisy.shape)).astype(np.float32)


LABELS = np.repeat([0, 1], 60)
EMBEDDINGS = directions(np.eye(30)[:2] * 3, 60, seed=0)


def labelled(embeddings: np.ndarray, labels: np.ndarray) -> LabelledEmbeddings:
    return LabelledEmbeddings(embeddings, labels, np.arange(len(labels)), 2)


def scores_of(data: LabelledEmbeddings) -> np.ndarray:
    return out_of_fold_scores(data, Folds.make(data.labels, data.groups, seed=0))


def detector_for(embeddings: np.ndarray, labels: np.ndarray) -> UnknownDetector:
    data = labelled(embeddings, labels)
    return fit_unknown(data, scores_of(data)).detector


def test_about_two_percent_at_most_are_refused_out_of_fold() -> None:
    detector = detector_for(EMBEDDINGS, LABELS)
    assert (scores_of(labelled(EMBEDDINGS, LABELS)) > detector.threshold).mean() <= 0.03


def test_strangers_are_refused() -> None:
    detector = detector_for(EMBEDDINGS, LABELS)
    assert detector.is_unknown(directions(np.eye(30)[2:10] * 3, 10, seed=1)).mean() >= 0.9


def test_one_odd_photo_does_not_open_the_door() -> None:
    odd = EMBEDDINGS[40:80].copy()
    odd[0] = np.eye(30)[20] * 5
    labels = LABELS[40:80]
    assert detector_for(odd, labels).is_unknown(odd[:1]).all()


def test_labels_that_resemble_each_other_keep_their_photos() -> None:
    alike = np.full((2, 30), 3.0) + 0.1 * np.eye(30)[:2]
    embeddings = directions(alike, 60, seed=2)
    detector = detector_for(embeddings, LABELS)
    assert detector.is_unknown(embeddings).mean() <= 0.04


def test_a_label_held_out_whole_does_not_count_as_known() -> None:
    labels = np.array([0] * 30 + [1])
    embeddings = EMBEDDINGS[30:61]
    scores = scores_of(labelled(embeddings, labels))
    assert np.isnan(scores[30])
    assert (scores[:30] > 0).all()
