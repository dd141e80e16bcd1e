"""The coordinates in which heads are fitted: centred, of mean length 1, and few where there are few photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.training.head.labelled import Floats

BLOCK = 4096  # photos that are centred at once


@dataclass(frozen=True)
class Basis:
    """The coordinates in which heads are fitted; `axes` (R, D) has orthonormal rows."""

    mean: Floats
    scale: float
    axes: Floats | None

    @classmethod
    def of(cls, embeddings: Floats) -> Basis:
        mean = embeddings.mean(axis=0)
        blocks = range(0, len(embeddings), BLOCK)
        lengths = [np.linalg.norm(embeddings[first : first + BLOCK] - mean, axis=1) for first in blocks]
        scale = float(np.concatenate(lengths).mean()) or 1.0
        few = len(embeddings) < embeddings.shape[1]
        return cls(mean, scale, _spanning_axes(embeddings - mean) if few else None)

    def coordinates(self, embeddings: Floats) -> Floats:
        """(N, R), of mean length 1."""
        return np.ascontiguousarray(self.inputs(embeddings)[:, :-1])

    def inputs(self, embeddings: Floats) -> Floats:
        """(N, R + 1): the coordinates, and a one that a bias is multiplied by."""
        if self.axes is None:  # computed where they stay: 20,000 pictures of 32 x 32 pixels are 246 MB
            inputs = np.empty((len(embeddings), embeddings.shape[1] + 1), np.float32)
            np.subtract(embeddings, self.mean, out=inputs[:, :-1])
            inputs[:, :-1] /= np.float32(self.scale)
        else:
            inputs = np.empty((len(embeddings), len(self.axes) + 1), np.float32)
            inputs[:, :-1] = (embeddings - self.mean) / np.float32(self.scale) @ self.axes.T
        inputs[:, -1] = 1
        return inputs

    def undo(self, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """The weight (L, D) and bias (L,) on raw embeddings that do what (L, R) and (L,) do on coordinates."""
        raw = (weight if self.axes is None else weight @ self.axes) / np.float32(self.scale)
        return raw.astype(np.float32), (bias - raw @ self.mean).astype(np.float32)


def _spanning_axes(centred: Floats) -> Floats:
    """(R, D), from the (N, N) products of photos with each other, which are fewer than the (D, D) of dimensions."""
    values, vectors = np.linalg.eigh(centred.astype(np.float64) @ centred.T.astype(np.float64))
    kept = values > values[-1] * 1e-10
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T @ centred, dtype=np.float32)
