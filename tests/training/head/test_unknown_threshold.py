"""Where the line is drawn between labels and strangers."""

import numpy as np
from handful.training.head.folds import make_folds
from handful.training.head.unknown import fit_unknown, out_of_fold_scores


def directions(centres: np.ndarray, images_per_centre: int, seed: int, noise: float = 0.25) -> np.ndarray:
    random = np.random.default_rng(seed)
    noisy = np.repeat(centres, images_per_centre, axis=0)
    return (noisy + noise * random.normal(size=noisy.shape)).astype(np.float32)


LABELS = np.repeat([0, 1], 60)
EMBEDDINGS = directions(np.eye(30)[:2] * 3, 60, seed=0)
FOLDS = make_folds(LABELS, np.arange(120), seed=0)


def test_about_two_percent_at_most_are_refused_out_of_fold() -> None:
    detector = fit_unknown(EMBEDDINGS, LABELS, FOLDS, 2)
    assert (out_of_fold_scores(EMBEDDINGS, LABELS, FOLDS, 2) > detector.threshold).mean() <= 0.03


def test_strangers_are_refused() -> None:
    detector = fit_unknown(EMBEDDINGS, LABELS, FOLDS, 2)
    assert detector.is_unknown(directions(np.eye(30)[2:10] * 3, 10, seed=1)).mean() >= 0.9


def test_one_odd_photo_does_not_open_the_door() -> None:
    odd = EMBEDDINGS[40:80].copy()
    odd[0] = np.eye(30)[20] * 5
    labels = LABELS[40:80]
    folds = make_folds(labels, np.arange(40), seed=0)
    assert fit_unknown(odd, labels, folds, 2).is_unknown(odd[:1]).all()


def test_labels_that_resemble_each_other_keep_their_photos() -> None:
    alike = np.full((2, 30), 3.0) + 0.1 * np.eye(30)[:2]
    embeddings = directions(alike, 60, seed=2)
    detector = fit_unknown(embeddings, LABELS, FOLDS, 2)
    assert detector.is_unknown(embeddings).mean() <= 0.04


def test_a_label_held_out_whole_does_not_count_as_known() -> None:
    labels = np.array([0] * 30 + [1])
    embeddings = EMBEDDINGS[30:61]
    folds = make_folds(labels, np.arange(31), seed=0)
    scores = out_of_fold_scores(embeddings, labels, folds, 2)
    assert np.isnan(scores[30])
    assert (scores[:30] > 0).all()
