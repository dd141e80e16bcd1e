"""The coordinates in which heads are fitted: centred, of mean length 1, and few where there are few photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from handful.training.head.labelled import Floats


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
    """(R, D), from the (N, N) products of photos with each other, which are fewer than the (D, D) of dimensions."""
    values, vectors = np.linalg.eigh(centred.astype(np.float64) @ centred.T.astype(np.float64))
    kept = values > values[-1] * 1e-10
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T @ centred, dtype=np.float32)
