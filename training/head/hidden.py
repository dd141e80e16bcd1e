"""The head with one hidden layer: the lecture's "headless network plus a small one of your own".

All folds train at once, as one batch of small networks over the same photos, each with its own weight per photo
(nought where a photo is held out). How long is learned inside each fold: a first run leaves the next fold out as well
and finds the best epoch on it, a second one trains on the whole training part for that long. An epoch is one step over
all photos, or over a fresh draw of them where there are more than a step takes, so that its cost is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from handful.training.head.folds import Fold, Labels
from handful.training.head.linear import Floats
from numpy.typing import NDArray

MAX_EPOCHS = 120
PATIENCE_EPOCHS = 15
LEARNING_RATE = 0.02
STEP_IMAGES = 2048
WATCHED_IMAGES = 4096  # that tell when to stop

Rows = slice | NDArray[np.intp]
ALL = slice(None)


@dataclass(frozen=True)
class HiddenFit:
    """What the folds say about one width and weight decay: logits (N, L), and how long to train."""

    logits: Floats
    epochs: int


def out_of_fold_hidden(
    coordinates: Floats, labels: Labels, folds: list[Fold], label_count: int, width: int, weight_decay: float, seed: int
) -> HiddenFit:
    """Averaged over repeats, as for the linear head."""
    tests = np.zeros((len(folds), len(labels)), dtype=bool)  # (K, N)
    for held_out, (_, test) in zip(tests, folds, strict=True):
        held_out[test] = True
    stops = np.stack([tests[_another_fold(folds, fold)] for fold in range(len(folds))])  # (K, N)
    networks = _Networks(coordinates, labels, label_count, width, weight_decay, seed)
    epochs = _best_epochs(networks, ~tests & ~stops, stops)  # (K,)
    total = np.zeros((len(labels), label_count), dtype=np.float32)
    for epoch in networks.train(~tests, int(epochs.max())):
        for fold in np.flatnonzero(epochs == epoch).tolist():
            total[tests[fold]] += networks.logits(fold, tests[fold])
    return HiddenFit(total / tests.sum(axis=0)[:, None], int(np.median(epochs)))


def fit_hidden(
    coordinates: Floats, labels: Labels, label_count: int, width: int, weight_decay: float, epochs: int, seed: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Hidden weight (H, R) and bias (H,), then weight (L, H) and bias (L,), learned from every photo."""
    networks = _Networks(coordinates, labels, label_count, width, weight_decay, seed)
    for _ in networks.train(np.ones((1, len(labels)), dtype=bool), epochs):
        pass
    into, into_bias, out, out_bias = (parameter.detach()[0].numpy() for parameter in networks.parameters)
    return into.T.copy(), into_bias[0].copy(), out.T.copy(), out_bias[0].copy()


def _another_fold(folds: list[Fold], fold: int) -> int:
    """The next fold whose photos are all in this one's training part: the next of the same repeat, or the first."""
    for step in range(1, len(folds)):
        other = (fold + step) % len(folds)
        if not np.intersect1d(folds[other][1], folds[fold][1]).size:
            return other
    raise AssertionError("two folds of one repeat share no photo")


def _best_epochs(networks: _Networks, train: NDArray[np.bool_], stop: NDArray[np.bool_]) -> NDArray[np.int64]:
    best_loss = np.full(len(train), np.inf)
    best_epoch = np.ones(len(train), dtype=np.int64)
    for epoch in networks.train(train, MAX_EPOCHS):
        loss = networks.losses(networks.watched, stop).detach().numpy()
        better = loss < best_loss
        best_loss, best_epoch = np.where(better, loss, best_loss), np.where(better, epoch, best_epoch)
        if epoch - best_epoch.max() >= PATIENCE_EPOCHS:
            break
    return best_epoch


class _Networks:
    """K networks of one shape over the same photos; `train` starts them anew, alike for the same seed."""

    def __init__(
        self, coordinates: Floats, labels: Labels, label_count: int, width: int, weight_decay: float, seed: int
    ) -> None:
        self._inputs, self._labels = torch.from_numpy(coordinates), torch.from_numpy(labels)
        self._label_count, self._width, self._weight_decay, self._seed = label_count, width, weight_decay, seed
        self.parameters: list[torch.nn.Parameter] = []
        self.watched = self._draw(np.random.default_rng(seed), WATCHED_IMAGES)
        self._last: tuple[Rows, torch.Tensor] | None = None  # what the parameters say of the rows asked for last

    def train(self, masks: NDArray[np.bool_], epochs: int) -> Iterator[int]:
        """The number of each epoch, from 1, after it; networks learn from the photos in masks (K, N)."""
        self.parameters, self._last = self._fresh_parameters(len(masks)), None
        optimizer = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE, weight_decay=self._weight_decay)
        random = np.random.default_rng(self._seed)
        for epoch in range(1, epochs + 1):
            optimizer.zero_grad()
            loss = self.losses(self._draw(random, STEP_IMAGES), masks).sum()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            self._last = None
            yield epoch

    def losses(self, rows: Rows, masks: NDArray[np.bool_]) -> torch.Tensor:
        """Each network's mean log loss (K,) over those of the rows that are in its mask, labels weighing the same."""
        labels = self._labels[rows]
        weights = torch.from_numpy(np.stack([_balanced_weights(labels.numpy(), mask[rows]) for mask in masks]))
        flat = torch.nn.functional.cross_entropy(
            self._all_logits(rows).flatten(0, 1), labels.repeat(len(masks)), reduction="none"
        )
        return (flat.view(weights.shape) * weights).sum(dim=1)

    def logits(self, network: int, rows: NDArray[np.bool_]) -> Floats:
        """(M, L) of one network for the M rows."""
        into, into_bias, out, out_bias = (parameter.detach()[network] for parameter in self.parameters)
        hidden = torch.relu(self._inputs[rows] @ into + into_bias)  # (M, H)
        return np.asarray((hidden @ out + out_bias).numpy())

    def _draw(self, random: np.random.Generator, most: int) -> Rows:
        count = len(self._labels)
        return ALL if count <= most else random.permutation(count)[:most]

    def _all_logits(self, rows: Rows) -> torch.Tensor:
        if self._last is None or self._last[0] is not rows:
            into, into_bias, out, out_bias = self.parameters
            hidden = torch.relu(self._inputs[rows] @ into + into_bias)  # (K, N, H)
            self._last = rows, torch.baddbmm(out_bias, hidden, out)  # (K, N, L)
        return self._last[1]

    def _fresh_parameters(self, count: int) -> list[torch.nn.Parameter]:
        """He et al. 2015, for inputs of length 1; every network starts from the same values."""
        random = torch.Generator().manual_seed(self._seed)
        dimensions = self._inputs.shape[1]
        into = torch.randn(dimensions, self._width, generator=random) * 2**0.5
        out = torch.randn(self._width, self._label_count, generator=random) / self._width
        biases = torch.zeros(1, self._width), torch.zeros(1, self._label_count)
        return [torch.nn.Parameter(start.repeat(count, 1, 1)) for start in (into, biases[0], out, biases[1])]


def _balanced_weights(labels: Labels, mask: NDArray[np.bool_]) -> Floats:
    """(N,) summing to 1, nought outside the mask, the same sum for each label inside it."""
    images = np.bincount(labels[mask], minlength=int(labels.max()) + 1)[labels]
    return np.asarray(np.where(mask, 1 / np.maximum(images, 1), 0) / len(np.unique(labels[mask])), dtype=np.float32)
