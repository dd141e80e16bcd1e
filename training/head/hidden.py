"""The head with one hidden layer: the lecture's "headless network plus a small one of your own".

All folds train at once, as one batch of small networks over the same photos, each with its own weight per photo (zero
where a photo is held out). The number of epochs is chosen inside each fold: a first run also leaves the next fold out
and finds the best epoch on it, a second run trains on the whole training part for as many epochs. An epoch is one step
over all photos, or over a fresh random sample where there are more photos than a step takes, so that its cost is
bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from handful.training.head.basis import Basis
from handful.training.head.folds import Fold, Folds
from handful.training.head.labelled import Floats, LabelledEmbeddings, Labels
from handful.training.head.linear import LinearHead
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.adamw import adamw

MAX_EPOCHS = 120
PATIENCE_EPOCHS = 15
LEARNING_RATE = 0.02
STEP_IMAGES = 2048
WATCHED_IMAGES = 4096  # that tell when to stop

Selection = slice | NDArray[np.intp]
ALL = slice(None)
MODULE_NAMES = {"hidden.weight": "0.weight", "hidden.bias": "0.bias", "weight": "2.weight", "bias": "2.bias"}


@dataclass(frozen=True)
class HiddenHead:
    """One layer of H units with ReLU, then a linear head on these: `hidden_weight` (H, D), `hidden_bias` (H,)."""

    hidden_weight: Floats
    hidden_bias: Floats
    last: LinearHead  # on (N, H)

    kind: ClassVar[Literal["hidden"]] = "hidden"

    @classmethod
    def fit(cls, data: LabelledEmbeddings, settings: Mapping[str, float], seed: int) -> HiddenHead:
        """On raw embeddings, with the `width`, `weight_decay` and `epochs` in the settings."""
        basis = Basis.of(data.embeddings)
        data = data.with_embeddings(basis.coordinates(data.embeddings))
        networks = _Networks(data, int(settings["width"]), settings["weight_decay"], seed)
        for _ in networks.train(np.ones((1, len(data)), dtype=bool), int(settings["epochs"])):
            pass
        into, into_bias, out, out_bias = (parameter.detach()[0].numpy() for parameter in networks.parameters)
        weight, bias = basis.undo(into.T.copy(), into_bias[0].copy())
        return cls(weight, bias, LinearHead(out.T.copy(), out_bias[0].copy()))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> HiddenHead:
        weight, bias = (tensors[f"hidden.{name}"].cpu().numpy() for name in ("weight", "bias"))
        return cls(weight, bias, LinearHead.from_tensors(tensors))

    @classmethod
    def from_module(cls, module: nn.Module) -> HiddenHead:
        """The inverse of `network.build_head`."""
        state = module.state_dict()
        return cls.from_tensors({name: state[in_module] for name, in_module in MODULE_NAMES.items()})

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Under the names that they have in an artifact."""
        first = LinearHead(self.hidden_weight, self.hidden_bias).tensors
        return {**{f"hidden.{name}": tensor for name, tensor in first.items()}, **self.last.tensors}

    @property
    def parameters(self) -> int:
        return self.hidden_weight.size + self.hidden_bias.size + self.last.parameters

    def logits(self, embeddings: Floats) -> Floats:
        """(N, L)"""
        return self.last.logits(np.maximum(embeddings @ self.hidden_weight.T + self.hidden_bias, 0))

    def at_temperature(self, temperature: float) -> HiddenHead:
        """Its logits are those of this one divided by the temperature."""
        return replace(self, last=self.last.at_temperature(temperature))

    def with_labels(self, numbers: Labels, label_count: int) -> HiddenHead:
        """As `LinearHead.with_labels`."""
        return replace(self, last=self.last.with_labels(numbers, label_count))


@dataclass(frozen=True)
class OutOfFoldHidden:
    """Out-of-fold logits (N, L) of one width and weight decay, and for how many epochs to train on all photos."""

    logits: Floats
    epochs: int


def out_of_fold_hidden(
    data: LabelledEmbeddings, folds: Folds, width: int, weight_decay: float, seed: int
) -> OutOfFoldHidden:
    """On coordinates of mean length 1; averaged over repeats, as for the linear head."""
    divided = list(folds)
    tests = np.zeros((len(divided), len(data)), dtype=bool)  # (K, N)
    for held_out, fold in zip(tests, divided, strict=True):
        held_out[fold.test] = True
    stops = np.stack([tests[_another_fold(divided, number)] for number in range(len(divided))])  # (K, N)
    networks = _Networks(data, width, weight_decay, seed)
    epochs = _best_epochs(networks, ~tests & ~stops, stops)  # (K,)
    total = np.zeros((len(data), data.label_count), dtype=np.float32)
    for epoch in networks.train(~tests, int(epochs.max())):
        for number in np.flatnonzero(epochs == epoch).tolist():
            total[tests[number]] += networks.logits(number, tests[number])
    return OutOfFoldHidden(total / tests.sum(axis=0)[:, None], int(np.median(epochs)))


def _another_fold(folds: Sequence[Fold], fold: int) -> int:
    """The next fold whose photos are all in this one's training part: the next of the same repeat, or the first."""
    for step in range(1, len(folds)):
        other = (fold + step) % len(folds)
        if not np.intersect1d(folds[other].test, folds[fold].test).size:
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
    """K networks of one shape over the same photos; `train` restarts them, identically for the same seed."""

    def __init__(self, data: LabelledEmbeddings, width: int, weight_decay: float, seed: int) -> None:
        self._inputs, self._labels = torch.from_numpy(data.embeddings), torch.from_numpy(data.labels)
        self._label_count, self._width, self._weight_decay, self._seed = data.label_count, width, weight_decay, seed
        self._image_weights = data.image_weights
        self.parameters: list[nn.Parameter] = []
        self.watched = self._sample(np.random.default_rng(seed), WATCHED_IMAGES)
        self._last: tuple[Selection, Tensor] | None = None  # the rows asked for last, and their logits

    def train(self, masks: NDArray[np.bool_], epochs: int) -> Iterator[int]:
        """Yields the number of each epoch, from 1, after it; network k learns from the photos in masks[k] (K, N)."""
        self.parameters, self._last = self._fresh_parameters(len(masks)), None
        step = adamw_step(self.parameters, self._weight_decay)
        random = np.random.default_rng(self._seed)
        for epoch in range(1, epochs + 1):
            loss = self.losses(self._sample(random, STEP_IMAGES), masks).sum()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            step()
            self._last = None
            yield epoch

    def losses(self, rows: Selection, masks: NDArray[np.bool_]) -> Tensor:
        """Each network's mean log loss (K,) over the rows that are in its mask, every label with the same weight."""
        labels = self._labels[rows]
        weighted = masks[:, rows] * self._image_weights[rows]
        weights = torch.from_numpy(np.stack([_balanced_weights(labels.numpy(), mask) for mask in weighted]))
        flat = nn.functional.cross_entropy(
            self._all_logits(rows).flatten(0, 1), labels.repeat(len(masks)), reduction="none"
        )
        return (flat.view(weights.shape) * weights).sum(dim=1)

    def logits(self, network: int, rows: NDArray[np.bool_]) -> Floats:
        """(M, L) of one network for the M rows."""
        into, into_bias, out, out_bias = (parameter.detach()[network] for parameter in self.parameters)
        hidden = torch.relu(self._inputs[rows] @ into + into_bias)  # (M, H)
        return np.asarray((hidden @ out + out_bias).numpy())

    def _sample(self, random: np.random.Generator, most: int) -> Selection:
        count = len(self._labels)
        return ALL if count <= most else random.permutation(count)[:most]

    def _all_logits(self, rows: Selection) -> Tensor:
        if self._last is None or self._last[0] is not rows:
            into, into_bias, out, out_bias = self.parameters
            hidden = torch.relu(self._inputs[rows] @ into + into_bias)  # (K, N, H)
            self._last = rows, torch.baddbmm(out_bias, hidden, out)  # (K, N, L)
        return self._last[1]

    def _fresh_parameters(self, count: int) -> list[nn.Parameter]:
        """He et al. 2015, for inputs of length 1; every network starts from the same values."""
        random = torch.Generator().manual_seed(self._seed)
        dimensions = self._inputs.shape[1]
        into = torch.randn(dimensions, self._width, generator=random) * 2**0.5
        out = torch.randn(self._width, self._label_count, generator=random) / self._width
        biases = torch.zeros(1, self._width), torch.zeros(1, self._label_count)
        return [nn.Parameter(start.repeat(count, 1, 1)) for start in (into, biases[0], out, biases[1])]


def adamw_step(parameters: list[nn.Parameter], weight_decay: float) -> Callable[[], None]:
    """A step of torch's AdamW on gradients, which it takes away, with the settings of `torch.optim.AdamW`.

    That class imports torch's compiler when it is made, which takes 1.4 s; the function that it calls does not.
    """
    tensors: list[Tensor] = [*parameters]
    means, squares = ([torch.zeros_like(each) for each in tensors] for _ in range(2))
    steps = [torch.tensor(0.0) for _ in tensors]
    settings: dict[str, Any] = {"lr": LEARNING_RATE, "weight_decay": weight_decay, "beta1": 0.9, "beta2": 0.999}

    @torch.no_grad()
    def step() -> None:
        gradients = [cast("Tensor", each.grad) for each in parameters]
        adamw(tensors, gradients, means, squares, [], steps, **settings, eps=1e-8, amsgrad=False, maximize=False)
        for each in parameters:
            each.grad = None

    return step


def _balanced_weights(labels: Labels, weights: Floats) -> Floats:
    """(N,) with sum 1: in proportion to the weights (N,), the same sum for each label that has any."""
    sums = np.bincount(labels, weights, int(labels.max()) + 1)
    return np.asarray(weights / np.maximum(sums[labels], 1e-12) / np.count_nonzero(sums), dtype=np.float32)
