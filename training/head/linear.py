"""The linear head: multinomial logistic regression, solved where it is cheap.

Embeddings are centred and divided by one number, their mean length, so that a strength means the same for every
backbone. Dividing each dimension by its own deviation instead cost up to 36 points on photos of another style
(training/LOG.md). With fewer photos than dimensions they are also rotated into the space they span, which changes
nothing about an L2-penalised solution and makes it several times cheaper. Both are undone at the end: what leaves is a
plain weight and bias on the raw embedding.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from handful.service.compute.device import cpu_count
from handful.training.head.folds import Fold, Labels
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float32]

MAX_STEPS = 100
SMALL_PROBLEM = 2_000_000  # images x labels x dimensions; below it a second core costs more than it brings
GRADIENT_TOLERANCE = 3e-3  # against 1, the gradient a label would have if all its photos were wrong, times labels


def is_small(coordinates: Floats, label_count: int) -> bool:
    return coordinates.size * label_count < SMALL_PROBLEM


@dataclass(frozen=True)
class Basis:
    """The coordinates in which heads are fitted; `axes` (R, D) has orthonormal rows."""

    mean: Floats
    scale: float
    axes: Floats | None

    @classmethod
    def of(cls, embeddings: Floats) -> Basis:
        mean = embeddings.mean(axis=0)
        centred = embeddings - mean
        scale = float(np.linalg.norm(centred, axis=1).mean()) or 1.0
        return cls(mean, scale, _spanning_axes(centred) if len(centred) < centred.shape[1] else None)

    def coordinates(self, embeddings: Floats) -> Floats:
        """(N, R), of mean length 1."""
        scaled = (embeddings - self.mean) / np.float32(self.scale)
        return np.asarray(scaled if self.axes is None else scaled @ self.axes.T, dtype=np.float32)

    def undo(self, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """The weight (L, D) and bias (L,) on raw embeddings that do what (L, R) and (L,) do on coordinates."""
        raw = (weight if self.axes is None else weight @ self.axes) / np.float32(self.scale)
        return raw.astype(np.float32), (bias - raw @ self.mean).astype(np.float32)


def _spanning_axes(centred: Floats) -> Floats:
    """Through the (N, N) products of photos with each other, far smaller than the (D, D) of dimensions."""
    values, vectors = np.linalg.eigh(centred.astype(np.float64) @ centred.T.astype(np.float64))
    kept = values > values[-1] * 1e-10
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T @ centred, dtype=np.float32)


class LinearFits:
    """One training part, fitted at one strength after another, each starting from the last.

    scikit-learn's LogisticRegression is not used: its stopping rule ignores how small the gradient of one label among
    a thousand is (it stops before the first step), and one fit of 160 photos takes it four times as long.
    """

    def __init__(
        self, coordinates: Floats, labels: Labels, label_count: int, rows: NDArray[np.intp] | None = None
    ) -> None:
        self._coordinates, self._rows = coordinates, np.arange(len(labels)) if rows is None else rows
        self._labels = labels[self._rows]  # (N,) of the photos to learn from: these rows, or all
        images = np.bincount(self._labels, minlength=label_count)  # (L,)
        self._present = np.flatnonzero(images)
        self._label_count = label_count
        self._image_weights = (1 / (len(self._present) * images[self._labels])).astype(np.float32)  # (N,) sum 1
        self._solution = np.zeros((len(self._present), coordinates.shape[1] + 1))

    def fit(self, strength: float) -> tuple[Floats, Floats]:
        """Weight (L, R) and bias (L,); a label without a photo here gets the lowest bias that any label has."""
        found = minimize(
            _Objective(self._coordinates[self._rows], self._labels, self._present, self._image_weights),
            self._solution.ravel(),
            args=(1 / (strength * len(self._labels)),),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_STEPS, "gtol": GRADIENT_TOLERANCE / len(self._present), "ftol": 0.0},
        )
        self._solution = found.x.reshape(self._solution.shape)
        weight = np.zeros((self._label_count, self._solution.shape[1] - 1), dtype=np.float32)
        bias = np.full(self._label_count, self._solution[:, -1].min(), dtype=np.float32)
        weight[self._present], bias[self._present] = self._solution[:, :-1], self._solution[:, -1]
        return weight, bias


class _Objective:
    """Penalised log loss and its gradient; its copies of the photos live as long as one fit."""

    def __init__(self, coordinates: Floats, labels: Labels, present: Labels, image_weights: Floats) -> None:
        self._inputs = np.column_stack([coordinates, np.ones(len(labels), np.float32)])  # (N, R + 1), last: bias
        self._own = np.arange(len(labels)), np.searchsorted(present, labels)  # where (N, P) holds a photo's own label
        self._label_count, self._image_weights = len(present), image_weights

    def __call__(self, flat: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        solution = flat.reshape(self._label_count, -1).astype(np.float32)
        errors = self._inputs @ solution.T  # (N, P) of the labels present: logits, and in place what follows from them
        errors -= errors.max(axis=1, keepdims=True)
        errors -= np.log(np.exp(errors).sum(axis=1, keepdims=True))  # log probabilities
        penalised = solution.copy()
        penalised[:, -1] = 0  # never the bias
        loss = -np.sum(self._image_weights * errors[self._own])
        np.exp(errors, out=errors)
        errors[self._own] -= 1
        errors *= self._image_weights[:, None]
        gradient = errors.T @ self._inputs + penalty * penalised
        return float(loss + penalty / 2 * np.sum(penalised**2)), gradient.ravel().astype(np.float64)


class OutOfFoldLinear:
    """The logits (N, L) of heads that did not see the photo, averaged over repeats, one strength after another.

    Nought for photos that none of the folds tests.

    Large folds are fitted side by side, each on one core: the libraries' own threads spend as long waiting for each
    other as they compute, and their sums would depend on how many there are.
    """

    def __init__(self, coordinates: Floats, labels: Labels, folds: list[Fold], label_count: int) -> None:
        self._coordinates, self._shape, self._folds = coordinates, (len(labels), label_count), folds
        self._fits = [LinearFits(coordinates, labels, label_count, train) for train, _ in folds]
        self._at_once = 1 if is_small(coordinates, label_count) else cpu_count()

    def logits(self, strength: float) -> Floats:
        total = np.zeros(self._shape, dtype=np.float32)
        times_tested = np.zeros((self._shape[0], 1), dtype=np.float32)
        with ThreadPoolExecutor(self._at_once) as pool:
            heads = pool.map(lambda fits: fits.fit(strength), self._fits)
            for (_, test), (weight, bias) in zip(self._folds, heads, strict=True):
                total[test] += self._coordinates[test] @ weight.T + bias
                times_tested[test] += 1
        return np.asarray(total / np.maximum(times_tested, 1))
