"""Probabilities and labels -> metrics. Pure functions; a label without an example changes no mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from handful.service.artifact.errors import DataError
from handful.service.artifact.verdict import Z
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score

FOLD_VARIANCE = 1.5  # of an out-of-fold accuracy, against that of as many independent answers
Probabilities = NDArray[np.float64]
Labels = NDArray[np.int64]


class Metrics(BaseModel):
    """How good the probabilities were on labelled photos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    accuracy: float = Field(description="part of the photos whose likeliest label is right")
    accuracy_ci95: tuple[float, float] = Field(description="95 % interval of the accuracy")
    effective_images: float = Field(description="independent answers that say as much about the accuracy")
    macro_f1: float = Field(description="F1, every label that occurs with the same weight")
    log_loss: float = Field(description="mean negative log probability of the right label, in nats")
    ece: float = Field(description="expected calibration error, 15 bins")
    confusion: list[list[int]] = Field(description="photos by true (row) and predicted (column) label")


class SuspectedLabel(BaseModel):
    """A photo that looks like another label than its own."""

    model_config = ConfigDict(frozen=True)

    index: int
    given: int
    suggested: int
    probability: float = Field(description="of the suggested label, out of fold")


def metrics(
    probabilities: Probabilities, labels: Labels, label_names: Sequence[str], groups: Labels | None = None
) -> Metrics:
    """Of probabilities (N, L) against label indices (N,).

    With `groups` (N,) of near-duplicates they are answers out of fold, and the interval is that of cross-validation;
    without, they are one model's answers to photos that it had not seen, and the interval is Wilson's.
    """
    _raise_unless_matching(probabilities, labels, label_names)
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == labels).sum())
    return Metrics(
        images=len(labels),
        accuracy=right / len(labels),
        accuracy_ci95=wilson_interval(right, len(labels)) if groups is None else interval_of_folds(right, groups),
        effective_images=float(len(labels)) if groups is None else effective_images(groups),
        macro_f1=macro_f1(predicted, labels),
        log_loss=log_loss(probabilities, labels),
        ece=expected_calibration_error(probabilities, labels),
        confusion=confusion(predicted, labels, len(label_names)),
    )


def recognition_metrics(refused: NDArray[np.bool_], groups: Labels | None = None) -> Metrics:
    """Of a single label, from whether each of its photos (N,) was taken for unknown; `groups` as for `metrics`.

    The likeliest label is always right then, so the accuracy is the share of the photos that are recognised.
    """
    count, recognised = len(refused), int((~refused).sum())
    if count == 0:
        raise DataError("got no labelled photo to evaluate on; at least one is needed")
    return Metrics(
        images=count,
        accuracy=recognised / count,
        accuracy_ci95=wilson_interval(recognised, count) if groups is None else interval_of_folds(recognised, groups),
        effective_images=float(count) if groups is None else effective_images(groups),
        macro_f1=2 * recognised / (recognised + count),
        log_loss=0.0,
        ece=0.0,
        confusion=[[count]],
    )


def _raise_unless_matching(probabilities: Probabilities, labels: Labels, label_names: Sequence[str]) -> None:
    if len(labels) == 0:
        raise DataError("got no labelled photo to evaluate on; at least one is needed")
    if probabilities.shape != (len(labels), len(label_names)):
        raise DataError(
            f"got probabilities {probabilities.shape} for {len(labels)} photos and {len(label_names)} labels; "
            "one row per photo and one column per label are needed"
        )


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """95 %, Wilson 1927: unlike the normal one it does not collapse when nothing, or everything, is right."""
    interval = binomtest(correct, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def effective_images(groups: Labels) -> float:
    """The number of independent answers that vary as much as out-of-fold answers to photos of these groups (N,).

    Answers to near-duplicates are right or wrong together: Kish's design effect (1965). And the folds share the photos
    that their heads learned from, so that the accuracy varies more than that of one head on as many photos (Nadeau and
    Bengio 2003; Bates, Hastie and Tibshirani 2023): `FOLD_VARIANCE` times, by training/LOG.md.
    """
    sizes = np.bincount(np.unique(groups, return_inverse=True)[1])
    return float(sizes.sum() ** 2 / np.square(sizes).sum() / FOLD_VARIANCE)


def interval_of_folds(right: int, groups: Labels) -> tuple[float, float]:
    """95 %, for the accuracy of the head that learned from all photos, from answers out of fold.

    The lower end is Wilson's for `effective_images`. The upper end is Agresti and Coull's (1998), which lies
    farther out and may be 100 % in spite of a mistake: the heads of the folds learned from four fifths of the photos.
    """
    accuracy, count = right / len(groups), effective_images(groups)
    middle = (accuracy + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(accuracy * (1 - accuracy) / count + Z**2 / (4 * count**2))
    upper = middle + Z * np.sqrt(middle * (1 - middle) / (count + Z**2))
    return float(max(0.0, middle - half)), float(min(1.0, upper))


def macro_f1(predicted: NDArray[np.integer], labels: Labels) -> float:
    return float(f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0.0))


def log_loss(probabilities: Probabilities, labels: Labels) -> float:
    """Not scikit-learn's, which renormalises rows and rejects labels without an example unless it is given them."""
    return float(image_log_losses(probabilities, labels).mean())


def image_log_losses(probabilities: Probabilities, labels: Labels, floor: float = 1e-15) -> NDArray[np.float64]:
    """(N,) nats: the negative log probability of each photo's label; `floor` keeps a certain mistake finite."""
    return np.asarray(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], floor, 1)))


def expected_calibration_error(probabilities: Probabilities, labels: Labels, bins: int = 15) -> float:
    """Guo et al. 2017: |accuracy - confidence| in bins of equal width, weighted by their photos."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bin_of_image = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(bin_of_image, weights=right - confidence, minlength=bins)).sum() / len(labels))


def confusion(predicted: NDArray[np.integer], labels: Labels, label_count: int) -> list[list[int]]:
    """(L, L) photos, rows by true and columns by predicted label."""
    counts: list[list[int]] = confusion_matrix(labels, predicted, labels=np.arange(label_count)).tolist()
    return counts


def suspected_labels(out_of_fold_probabilities: Probabilities, labels: Labels) -> list[SuspectedLabel]:
    """Photos that look like another label and not like their own; most confident first.

    Confident learning (Northcutt et al. 2021): a photo is confidently of a label if that probability is at least
    the mean which the label's own photos get.
    """
    thresholds = _self_confidence(out_of_fold_probabilities, labels)  # (L,)
    suggested = np.where(out_of_fold_probabilities >= thresholds, out_of_fold_probabilities, -1.0).argmax(axis=1)
    rows = np.arange(len(labels))
    probability = out_of_fold_probabilities[rows, suggested]
    own = out_of_fold_probabilities[rows, labels]
    contradicted = (suggested != labels) & (probability >= thresholds[suggested]) & (probability > own)
    most_confident_first = sorted(np.flatnonzero(contradicted), key=lambda row: (-probability[row], row))
    return [
        SuspectedLabel(
            index=int(row), given=int(labels[row]), suggested=int(suggested[row]), probability=float(probability[row])
        )
        for row in most_confident_first
    ]


def _self_confidence(probabilities: Probabilities, labels: Labels) -> Probabilities:
    """(L,) mean probability of a label among its own photos; infinite for a label without a photo."""
    label_count = probabilities.shape[1]
    images = np.bincount(labels, minlength=label_count)
    sums = np.bincount(labels, weights=probabilities[np.arange(len(labels)), labels], minlength=label_count)
    return np.where(images > 0, sums / np.maximum(images, 1), np.inf)
