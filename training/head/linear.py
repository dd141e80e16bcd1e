"""The linear head: logistic regression plus the cosine to the mean of each label.

Both are learned on embeddings of length 1, and each is divided by its mean size before they are added. Few photos
define a mean better than a border, and a photo of another style keeps its direction but not its length: that is worth
up to three points on photos of another style (training/LOG.md). Many photos of labels that look alike define the border
better, so the cross-validation may leave the means out (`means` 0).

The exported head is a plain weight on the raw embedding, with a bias of zero: a bias would mean more for a short
embedding than for a long one. Instead what the regression learned as bias is put on the direction of the mean
embedding, which all embeddings share. The answer then does not depend on the embedding's length.
Where lengths vary so much that they tell photos apart (features of the ladder, not embeddings of a network), they are
kept, and so is the bias.

The regression is solved in coordinates where that is cheap. Embeddings are centred and divided by one number, their
mean length, so that a strength means the same for every backbone. Dividing each dimension by its own deviation instead
cost up to 36 points on photos of another style. With fewer photos than dimensions they are also rotated into the space
they span, which does not change an L2-penalised solution and makes it several times cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import torch
from handful.service.compute.device import cpu_count
from handful.training.head.basis import Basis
from handful.training.head.folds import Folds
from handful.training.head.labelled import Floats, LabelledEmbeddings, Labels, Rows
from handful.training.head.objective import LargeObjective, Objective, is_large
from torch import Tensor, nn

SMALL_PROBLEM = 2_000_000  # images x labels x dimensions; below it a second core costs more than it brings
VARIED = 0.35  # deviation of the lengths of embeddings, by their mean; ImageNet networks: 0.1 to 0.2
SHARED = 0.3  # length of the mean embedding, each of length 1; ImageNet networks: 0.6 to 0.9
TINY = 1e-12
SMALLEST_SIZE = 1e-4  # of logits that differ; cosines that differ by less say nothing


def is_small(data: LabelledEmbeddings) -> bool:
    return data.embeddings.size * data.label_count < SMALL_PROBLEM


@dataclass(frozen=True)
class LinearHead:
    """Logits are `embeddings @ weight.T + bias`; `weight` (L, D), `bias` (L,)."""

    weight: Floats
    bias: Floats

    kind: ClassVar[Literal["linear"]] = "linear"

    @classmethod
    def fit(cls, data: LabelledEmbeddings, settings: Mapping[str, float], seed: int) -> LinearHead:  # noqa: ARG003
        """On raw embeddings, with the `strength` and `means` in the settings; nothing is random."""
        return LinearFits(LinearProblem.of(data)).fit(settings["strength"]).head(settings.get("means", 0.0))

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


@dataclass(frozen=True)
class LinearProblem:
    """The photos of all folds, with embeddings of length 1 (N, D), or of mean length 1 where lengths count or vary.

    Their coordinates with a one for the bias (N, R + 1), and the length of a raw one on average.
    """

    data: LabelledEmbeddings
    unit: Floats
    basis: Basis
    inputs: Floats
    length: float
    has_length_one: bool  # False where the lengths are kept, only divided by their mean

    @classmethod
    def of(cls, data: LabelledEmbeddings) -> LinearProblem:
        lengths = np.maximum(np.linalg.norm(data.embeddings, axis=1, keepdims=True), TINY)  # (N, 1)
        length = float(lengths.mean())
        varied = data.lengths_count or bool(lengths.std() > VARIED * length)  # then they tell photos apart
        unit = np.asarray(data.embeddings / (length if varied else lengths), dtype=np.float32)
        basis = Basis.of(unit)
        return cls(data, unit, basis, basis.inputs(unit), length, not varied)


@dataclass(frozen=True)
class LinearFit:
    """Heads on embeddings of length 1, each (L, D + 1) with the bias last, and of mean size 1 on their photos."""

    regression: Floats
    levelled: Floats  # the same with a bias that is half of the regression's, half of what makes all labels as likely
    means: Floats  # the cosines to the label means
    length: float  # of a raw embedding, on average
    photos: float  # per label

    def head(self, means: float) -> LinearHead:
        """On raw embeddings: the label means weigh `means` / (`means` + photos per label), the levelled regression 1.

        With `means` 0 it is the regression alone.
        """
        both = self.levelled + np.float32(means / (means + self.photos)) * self.means if means else self.regression
        both = both - both.mean(axis=0)  # what is the same for all labels changes nothing
        weight = np.asarray(both[:, :-1] / self.length, dtype=np.float32)
        return LinearHead(np.ascontiguousarray(weight), np.asarray(both[:, -1], dtype=np.float32))


class LinearFits:
    """One training part, fitted at one strength after another; each fit starts from the solution before it.

    scikit-learn's LogisticRegression is not used. Its stopping rule ignores how small the gradient of one label among
    a thousand is, so that it stops before the first step, and it needs four times as long for a fit of 160 photos.
    """

    def __init__(self, problem: LinearProblem, rows: Rows | None = None) -> None:
        """Learns from these rows, or from all."""
        self._problem, data = problem, problem.data
        self._rows: Rows | slice = slice(None) if rows is None else rows  # a slice copies nothing
        self._labels, self._label_count = data.labels[self._rows], data.label_count
        self._weights = data.image_weights[self._rows]  # (N,)
        images = np.bincount(self._labels, self._weights, self._label_count)  # (L,)
        self._present = np.flatnonzero(images)
        self._image_weights = (self._weights / (len(self._present) * images[self._labels])).astype(np.float32)  # sum 1
        self._solution = np.zeros((len(self._present), problem.inputs.shape[1]))

    def fit(self, strength: float) -> LinearFit:
        """A label without a photo here is the least likely one for every photo."""
        kind = LargeObjective if is_large(self._problem.data) else Objective
        inputs = self._problem.inputs[self._rows]  # copied for one fold, and freed after it
        objective = kind(inputs, self._labels, self._present, self._image_weights)
        self._solution = objective.minimum(self._solution, 1 / (strength * len(self._labels)))
        solution = self._solution.astype(np.float32)
        weight, bias = self._problem.basis.undo(solution[:, :-1], solution[:, -1])
        regression = _with_zero(weight) + bias[:, None] * self._one
        middle = np.append(self._label_means.mean(axis=0), np.float32(1))  # (D + 1,)
        levels = regression @ middle
        levelled = regression - 0.5 * (levels - levels.mean())[:, None] * self._one / (self._one @ middle)
        return LinearFit(
            self._scaled(regression, bias.min()),
            self._scaled(levelled, bias.min()),
            self._means,
            self._problem.length,
            len(self._labels) / len(self._present),
        )

    @cached_property
    def _unit(self) -> Floats:
        unit: Floats = self._problem.unit[self._rows]
        return unit

    @cached_property
    def _one(self) -> Floats:
        """(D + 1,) what makes a bias: along the direction that all embeddings share, where they share one."""
        mean = self._unit.mean(axis=0)
        if not self._problem.has_length_one or mean @ mean < SHARED**2:
            return np.append(np.zeros_like(mean), np.float32(1))
        shared: Floats = _with_zero(mean[None] / (mean @ mean))[0]  # its product with an embedding is 1 on average
        return shared

    @cached_property
    def _label_means(self) -> Floats:
        """(P, D)"""
        order = np.argsort(self._labels, kind="stable")
        first = np.searchsorted(self._labels[order], self._present)
        weights = self._weights[order, None]
        sums = [
            (self._unit[rows] * self._weights[rows, None]).sum(axis=0, dtype=np.float64)
            for rows in np.split(order, first[1:])  # one label after another: all photos at once would be copied
        ]
        return np.asarray(np.stack(sums) / np.add.reduceat(weights, first, axis=0), dtype=np.float32)

    @cached_property
    def _means(self) -> Floats:
        """(L, D + 1) the directions of the label means, as a head."""
        lengths = np.linalg.norm(self._label_means, axis=1, keepdims=True)
        directions = self._label_means / np.maximum(lengths, TINY)
        return self._scaled(_with_zero(directions), float((directions @ self._unit.mean(axis=0)).min()))

    def _scaled(self, rows: Floats, absent: float) -> Floats:
        """(P, D + 1) -> (L, D + 1): divided by the mean size of each photo's logits around their mean.

        A label without a photo gets the bias `absent` and no weight.
        """
        logits = self._unit @ rows[:, :-1].T + rows[:, -1]
        logits -= logits.mean(axis=1, keepdims=True)
        spread = np.tile(np.float32(absent) * self._one, (self._label_count, 1))
        spread[self._present] = rows
        return np.asarray(spread / np.float32(max(float(np.abs(logits).mean()), SMALLEST_SIZE)), dtype=np.float32)


def _with_zero(rows: Floats) -> Floats:
    """(P, D) -> (P, D + 1)"""
    return np.pad(rows, ((0, 0), (0, 1)))


class OutOfFoldLinear:
    """Logits (N, L) of heads that did not see the photo, averaged over repeats, at one strength after another.

    Large folds are fitted in parallel, each on one core: the libraries' own threads spend as long waiting for each
    other as they compute, and their sums would depend on how many there are.
    """

    def __init__(self, data: LabelledEmbeddings, folds: Folds) -> None:
        """On raw embeddings."""
        self._data, self._folds = data, list(folds)
        problem = LinearProblem.of(data)
        self._fits = [LinearFits(problem, fold.train) for fold in self._folds]
        self._workers = 1 if is_small(data) else cpu_count()

    def logits(self, strength: float, means: Sequence[float]) -> list[Floats]:
        """For each weight of the label means; zeros for a photo that no fold tests."""
        totals = [np.zeros((len(self._data), self._data.label_count), dtype=np.float32) for _ in means]
        times_tested = np.zeros((len(self._data), 1), dtype=np.float32)
        with ThreadPoolExecutor(self._workers) as pool:
            fits = pool.map(lambda each: each.fit(strength), self._fits)
            for fold, fit in zip(self._folds, fits, strict=True):
                for total, weight in zip(totals, means, strict=True):
                    total[fold.test] += fit.head(weight).logits(self._data.embeddings[fold.test])
                times_tested[fold.test] += 1
        return [np.asarray(total / np.maximum(times_tested, 1)) for total in totals]
