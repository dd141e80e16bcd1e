"""The head as it answers: in float64 by numpy, so that a model's answers are the same with torch and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Layers = Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]  # weight (out, in) and bias (out,) of each


@dataclass(frozen=True)
class FrozenHead:
    """One linear layer, or two with a ReLU between, and the temperature."""

    layers: Layers
    temperature: float

    @classmethod
    def of(cls, head: nn.Module | None, temperature: float) -> FrozenHead:
        """Of a head on torch, whose parameters are weight and bias of each layer in turn."""
        values = [each.detach().double().cpu().numpy() for each in head.parameters()] if head is not None else []
        return cls([*zip(values[::2], values[1::2], strict=True)], temperature)

    def probabilities(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """`(..., D)` -> `(..., L)`."""
        values = embeddings.astype(np.float64)
        for number, (weight, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if number else values) @ weight.T + bias
        values /= self.temperature
        shares = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=-1, keepdims=True))
