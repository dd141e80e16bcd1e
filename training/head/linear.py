"""The linear head: multinomial logistic regression, solved in coordinates where that is cheap.

Embeddings are centred and divided by one number, their mean length, so that a strength means the same for every
backbone. Dividing each dimension by its own deviation instead cost up to 36 points on photos of another style
(training/LOG.md). With fewer photos than dimensions they are also rotated into the space they span, which does not
change an L2-penalised solution and makes it several times cheaper. Both steps are undone at the end: the exported head
is a plain weight and bias on the raw embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from handful.service.compute.device import cpu_count
from handful.training.head.folds import Folds
from handful.training.head.labelled import Floats, LabelledEmbeddings, Labels, Rows
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

MAX_STEPS = 100
SMALL_PROBLEM = 2_000_000  # images x labels x dimensions; below it a second core costs more than it brings
GRADIENT_TOLERANCE = 3e-3  # against 1, the gradient a label would have if all its photos were wrong, times labels


def is_small(data: LabelledEmbeddings) -> bool:
    return data.embeddings.size * data.label_count < SMALL_PROBLEM


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


@dataclass(frozen=True)
class LinearHead:
    """Logits are `embeddings @ weight.T + bias`; `weight` (L, D), `bias` (L,)."""

    weight: Floats
    bias: Floats

    kind: ClassVar[Literal["linear"]] = "linear"

    @classmethod
    def fit(cls, data: LabelledEmbeddings, settings: Mapping[str, float], seed: int) -> LinearHead:  # noqa: ARG003
        """With the `strength` in the settings; nothing is random. The embeddings have a mean length of 1."""
        return LinearFits(data).fit(settings["strength"])

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LinearHead:
        return cls(tensors["weight"].cpu().numpy(), tensors["bias"].cpu().numpy())

    @classmethod
    def from_module(cls, module: nn.Module) -> LinearHead:
        """The inverse of `network.build_head`."""
        return cls.from_tensors(module.state_dict())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Under the names that they have in an artifact."""
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in vars(self).items()}

    @property
    def parameters(self) -> int:
        return self.weight.size + self.bias.size

    def logits(self, embeddings: Floats) -> Floats:
        """(N, L)"""
        return np.asarray(embeddings @ self.weight.T + self.bias)

    def on_raw(self, basis: Basis) -> LinearHead:
        """The head that gives on raw embeddings what this one gives on coordinates."""
        return LinearHead(*basis.undo(self.weight, self.bias))

    def at_temperature(self, temperature: float) -> LinearHead:
        """Its logits are those of this one divided by the temperature."""
        return replace(self, weight=self.weight / np.float32(temperature), bias=self.bias / np.float32(temperature))

    def with_labels(self, numbers: Labels, label_count: int) -> LinearHead:
        """For more labels: row i moves to `numbers[i]`, and a new label gets the lowest bias that any label has."""
        return replace(
            self,
            weight=_rows_at(self.weight, numbers, label_count, 0.0),
            bias=_rows_at(self.bias, numbers, label_count),
        )


def _rows_at(rows: Floats, numbers: Labels, count: int, fill: float | None = None) -> Floats:
    """Rows at their new numbers among `count`; the others are `fill`, or the lowest value."""
    spread = np.full((count, *rows.shape[1:]), rows.min() if fill is None else fill, dtype=np.float32)
    spread[numbers] = rows
    return spread


def _spanning_axes(centred: Floats) -> Floats:
    """(R, D), from the (N, N) products of photos with each other, which are fewer than the (D, D) of dimensions."""
    values, vectors = np.linalg.eigh(centred.astype(np.float64) @ centred.T.astype(np.float64))
    kept = values > values[-1] * 1e-10
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T @ centred, dtype=np.float32)


class LinearFits:
    """One training part, fitted at one strength after another; each fit starts from the solution before it.

    scikit-learn's LogisticRegression is not used. Its stopping rule ignores how small the gradient of one label among
    a thousand is, so that it stops before the first step, and it needs four times as long for a fit of 160 photos.
    """

    def __init__(self, data: LabelledEmbeddings, rows: Rows | None = None) -> None:
        """Learns from these rows, or from all."""
        self._coordinates, self._rows = data.embeddings, np.arange(len(data)) if rows is None else rows
        self._labels, self._label_count = data.labels[self._rows], data.label_count
        images = np.bincount(self._labels, minlength=self._label_count)  # (L,)
        self._present = np.flatnonzero(images)
        self._image_weights = (1 / (len(self._present) * images[self._labels])).astype(np.float32)  # (N,) sum 1
        self._solution = np.zeros((len(self._present), self._coordinates.shape[1] + 1))

    def fit(self, strength: float) -> LinearHead:
        """On coordinates; a label without a photo here gets the lowest bias that any label has."""
        result = minimize(
            _Objective(self._coordinates[self._rows], self._labels, self._present, self._image_weights),
            self._solution.ravel(),
            args=(1 / (strength * len(self._labels)),),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_STEPS, "gtol": GRADIENT_TOLERANCE / len(self._present), "ftol": 0.0},
        )
        self._solution = result.x.reshape(self._solution.shape)
        solution = self._solution.astype(np.float32)
        return LinearHead(solution[:, :-1], solution[:, -1]).with_labels(self._present, self._label_count)


class _Objective:
    """Penalised log loss and its gradient; its copies of the photos are freed after one fit."""

    def __init__(self, coordinates: Floats, labels: Labels, present: Labels, image_weights: Floats) -> None:
        self._inputs = np.column_stack([coordinates, np.ones(len(labels), np.float32)])  # (N, R + 1), last: bias
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


class OutOfFoldLinear:
    """Logits (N, L) of heads that did not see the photo, averaged over repeats, at one strength after another.

    Large folds are fitted in parallel, each on one core: the libraries' own threads spend as long waiting for each
    other as they compute, and their sums would depend on how many there are.
    """

    def __init__(self, data: LabelledEmbeddings, folds: Folds) -> None:
        self._data, self._folds = data, list(folds)
        self._fits = [LinearFits(data, fold.train) for fold in self._folds]
        self._workers = 1 if is_small(data) else cpu_count()

    def logits(self, strength: float) -> Floats:
        total = np.zeros((len(self._data), self._data.label_count), dtype=np.float32)
        times_tested = np.zeros((len(self._data), 1), dtype=np.float32)
        with ThreadPoolExecutor(self._workers) as pool:
            heads = pool.map(lambda fits: fits.fit(strength), self._fits)
            for fold, head in zip(self._folds, heads, strict=True):
                total[fold.test] += head.logits(self._data.embeddings[fold.test])
                times_tested[fold.test] += 1
        return np.asarray(total / times_tested)
