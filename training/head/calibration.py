"""One temperature that turns a head's logits into calibrated probabilities.

Fitted on out-of-fold logits (Guo et al. 2017). Where a head makes no mistake out of fold, the likelihood alone would
choose a temperature near zero and a confidence of one. The targets are therefore those of Platt 1999, who counts n
right answers as (n + 1) / (n + 2): a hundred photos without a mistake are evidence for about 99 %, not for certainty.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

MANY_LOGITS = 1_000_000  # from here on each is read once per temperature; below, the sums keep their last digits
LOWEST, HIGHEST = 1e-3, 1e3  # the temperatures searched; heads on scaled embeddings need values far inside


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature to divide logits (N, L) by before the softmax."""
    loss = (_loss_of_many if logits.size >= MANY_LOGITS else _loss)(logits, labels)
    result = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(result.x))


def _targets(labels: NDArray[np.int64], label_count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each photo (N,): the part that goes to the other labels, and what each of them gets."""
    images = np.bincount(labels, minlength=label_count)[labels]  # (N,) of the same label
    off_label = 1 / (images + 2)
    return off_label, off_label / max(label_count - 1, 1)


def _loss(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Callable[[float], float]:
    """Of the logarithm of a temperature."""
    off_label, others = _targets(labels, logits.shape[1])
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        own = log_probabilities[rows, labels]
        return float(-np.mean((1 - off_label - others) * own + others * log_probabilities.sum(axis=1)))

    return loss


def _loss_of_many(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Callable[[float], float]:
    """The same with one pass over the logits for each temperature."""
    label_count = logits.shape[1]
    off_label, others = _targets(labels, label_count)
    below = logits - logits.max(axis=1, keepdims=True)
    own, total = below[np.arange(len(labels)), labels], below.sum(axis=1, dtype=np.float64)  # (N,)

    def loss(log_temperature: float) -> float:
        factor = np.exp(-log_temperature)
        normaliser = np.log(np.exp(below * below.dtype.type(factor)).sum(axis=1, dtype=np.float64))  # (N,)
        of_own, of_all = own * factor - normaliser, total * factor - label_count * normaliser
        return float(-np.mean((1 - off_label - others) * of_own + others * of_all))

    return loss


def calibrated(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Probabilities (N, L) float64; each row sums to 1."""
    return np.asarray(np.exp(log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)))
