"""What a linear head minimises: the penalised log loss, as scipy asks for it, and a start that is near the minimum."""

from __future__ import annotations

from typing import Any

import numpy as np
from handful.training.head.labelled import Floats, LabelledEmbeddings, Labels
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

LARGE_PROBLEM = 1_000_000_000  # images x labels x dimensions; from here on every product counts
MAX_STEPS = 100
GRADIENT_TOLERANCE = 3e-3  # against 1, the gradient a label would have if all its photos were wrong, times labels
REMEMBERED_STEPS = 5  # of a large problem, instead of 10: they take half as long, and no more of them were needed
LOWEST, HIGHEST = 1e-2, 1e3  # multiples of a start that are searched
SCALED_ON = 1024  # photos that the multiple is searched on


def is_large(data: LabelledEmbeddings) -> bool:
    return data.embeddings.size * data.label_count >= LARGE_PROBLEM


class Objective:
    """Penalised log loss and its gradient."""

    def __init__(self, inputs: Floats, labels: Labels, present: Labels, image_weights: Floats) -> None:
        self._inputs = inputs  # (N, R + 1), last: bias
        self._own = np.arange(len(labels)), np.searchsorted(present, labels)  # where (N, P) holds a photo's own label
        self._label_count, self._image_weights = len(present), image_weights

    def __call__(self, flat: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        solution = flat.reshape(self._label_count, -1).astype(np.float32)
        errors = self._inputs @ solution.T  # (N, P) for the labels present: logits, then changed in place
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

    def minimum(self, start: NDArray[np.float64], penalty: float, **options: Any) -> NDArray[np.float64]:
        """Of L-BFGS-B from a start (P, R + 1)."""
        tolerances = {"maxiter": MAX_STEPS, "gtol": GRADIENT_TOLERANCE / self._label_count, "ftol": 0.0}
        result = minimize(
            self, start.ravel(), args=(penalty,), jac=True, method="L-BFGS-B", options=tolerances | options
        )
        solution: NDArray[np.float64] = result.x.reshape(start.shape)
        return solution


class LargeObjective(Objective):
    """The same in fewer and cheaper evaluations; the last digits are others.

    From one strength to the next a solution changes most in its size, and from zero it begins along the gradient; how
    far is searched first. That needs no product: the logits of a multiple are the multiple of the logits.
    """

    def __call__(self, flat: NDArray[np.float64], penalty: float) -> tuple[float, NDArray[np.float64]]:
        solution = flat.reshape(self._label_count, -1).astype(np.float32)
        errors = self._inputs @ solution.T  # (N, P)
        errors -= errors.max(axis=1, keepdims=True)
        own = errors[self._own]
        np.exp(errors, out=errors)  # the only time: large folds wait for the memory
        sums = errors.sum(axis=1)
        loss = np.sum(self._image_weights * (np.log(sums) - own))
        errors *= (self._image_weights / sums)[:, None]
        errors[self._own] -= self._image_weights
        solution[:, -1] = 0  # never the bias
        gradient = errors.T @ self._inputs
        gradient += np.float32(penalty) * solution
        return float(loss + penalty / 2 * np.sum(solution**2)), gradient.ravel().astype(np.float64)

    def minimum(self, start: NDArray[np.float64], penalty: float, **options: Any) -> NDArray[np.float64]:
        if not start.any():
            start = -self(start.ravel(), penalty)[1].reshape(start.shape)
        start = self._best_multiple(start, penalty) * start
        return super().minimum(start, penalty, maxcor=REMEMBERED_STEPS, **options)

    def _best_multiple(self, start: NDArray[np.float64], penalty: float) -> float:
        """Of a start (P, R + 1): the one with the least loss, by some of the photos."""
        rows = slice(None, None, -(-len(self._inputs) // SCALED_ON))
        logits = self._inputs[rows] @ start.T.astype(np.float32)  # (M, P)
        logits -= logits.max(axis=1, keepdims=True)
        size = float(np.abs(logits).mean()) or 1.0
        own = logits[np.arange(len(logits)), self._own[1][rows]]
        weights = self._image_weights[rows] / self._image_weights[rows].sum()
        squares = penalty / 2 * float(np.sum(start[:, :-1] ** 2))

        def loss(log_multiple: float) -> float:
            multiple = np.exp(log_multiple) / size
            normalisers = np.log(np.exp(logits * np.float32(multiple)).sum(axis=1))
            return float(np.sum(weights * (normalisers - np.float32(multiple) * own)) + squares * multiple**2)

        bounds = np.log(LOWEST), np.log(HIGHEST)
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-2})
        return float(np.exp(found.x)) / size
