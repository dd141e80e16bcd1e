"""Features of the photos -> a head, learned and chosen on the training part alone.

Within the training part the head's settings are chosen by cross-validation, as `handful train` does on all photos;
with very many photos the choice is made on some of them, and the head then learned from all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from handful.training.head.calibration import fit_temperature
from handful.training.head.folds import Labels
from handful.training.head.hidden import fit_hidden
from handful.training.head.linear import Basis, Floats, LinearFits
from handful.training.head.selection import FittedHead, HeadSettings, fit_head
from handful.training.report.learning_curve import rank_within_label
from numpy.typing import NDArray

MAX_IMAGES = 4000  # that the settings are chosen on


@dataclass(frozen=True)
class FoldHead:
    """A head for the labels that occur in a training part; its logits are already at their temperature."""

    weights: dict[str, Floats]
    present: NDArray[np.int64]
    label_count: int

    @property
    def parameters(self) -> int:
        return sum(weight.size for weight in self.weights.values())

    def logits(self, features: Floats) -> Floats:
        """(N, L), minus infinity for a label without a photo to learn from."""
        if "hidden.weight" in self.weights:
            features = np.maximum(features @ self.weights["hidden.weight"].T + self.weights["hidden.bias"], 0)
        logits = np.full((len(features), self.label_count), -np.inf, dtype=np.float32)
        logits[:, self.present] = features @ self.weights["weight"].T + self.weights["bias"]
        return logits

    def for_all_labels(self) -> dict[str, Floats]:
        """The same head with a row for each label; one without a photo gets the lowest bias that any has."""
        weight = np.zeros((self.label_count, self.weights["weight"].shape[1]), dtype=np.float32)
        bias = np.full(self.label_count, self.weights["bias"].min(), dtype=np.float32)
        weight[self.present], bias[self.present] = self.weights["weight"], self.weights["bias"]
        return {**self.weights, "weight": weight, "bias": bias}


def learn_head(
    kind: Literal["linear", "hidden"], features: Floats, labels: Labels, groups: Labels, label_count: int, seed: int
) -> FoldHead:
    """From features (N, D) of the training part."""
    present, index = np.unique(labels, return_inverse=True)
    chosen_on = _some(index, seed)
    head = fit_head(
        features[chosen_on], index[chosen_on], groups[chosen_on], len(present), HeadSettings(kind=kind), seed
    )
    weights = dict(head.weights if len(chosen_on) == len(index) else _learned_from_all(head, features, index, seed))
    temperature = np.float32(fit_temperature(head.out_of_fold_logits, index[chosen_on]))
    weights |= {name: weights[name] / temperature for name in ("weight", "bias")}
    return FoldHead(weights, present, label_count)


def _some(labels: Labels, seed: int) -> NDArray[np.intp]:
    """All images, or as many of each label as make the most that a choice may take; 5 of each at least."""
    cap = len(labels)
    images_per_label = np.bincount(labels)
    while cap > 5 and np.minimum(images_per_label, cap).sum() > MAX_IMAGES:
        cap = cap * 9 // 10
    return np.flatnonzero(rank_within_label(labels, np.random.default_rng(seed).permutation(len(labels))) < cap)


def _learned_from_all(head: FittedHead, features: Floats, labels: Labels, seed: int) -> dict[str, Floats]:
    basis = Basis.of(features)
    coordinates = basis.coordinates(features)
    label_count, settings = int(labels.max()) + 1, head.settings
    if head.kind == "linear":
        fitted = LinearFits(coordinates, labels, label_count).fit(settings["strength"])
        return dict(zip(("weight", "bias"), basis.undo(*fitted), strict=True))
    width, epochs = int(settings["width"]), int(settings["epochs"])
    into, into_bias, out, out_bias = fit_hidden(
        coordinates, labels, label_count, width, settings["weight_decay"], epochs, seed
    )
    into, into_bias = basis.undo(into, into_bias)
    return {"hidden.weight": into, "hidden.bias": into_bias, "weight": out, "bias": out_bias}
