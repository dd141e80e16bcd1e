"""Embeddings -> the rows that together cover the others best, one after the other.

A photo covers another one by a Gaussian kernel of their distance. Each step takes the photo that adds most to what is
covered, given what is known and chosen already: greedy kernel herding by the maximum (MaxHerding, Bae et al. 2024), and
with weights its uncertainty form (Bae et al. 2025). The sum is submodular, so a gain that was computed earlier is an
upper bound, and a step computes the gains again of only the few photos whose bound is high enough (Minoux 1978).

What must be covered is a random sample of at most `MOST_REFERENCES` photos, so there is no table of all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MOST_REFERENCES = 2048
BLOCK = 4096  # rows that are read at once
RECHECKED = 64  # gains that are computed again at once
WIDTH = 0.5  # of the kernel, as a share of the photos' mean squared distance (training/LOG.md)
SAME = 0.92  # cosine of centred embeddings from which two photos are near-duplicates


@dataclass(frozen=True)
class Scale:
    """How rows are compared: centred at `mean` (D,) and brought to length 1."""

    mean: Floats

    @classmethod
    def of(cls, embeddings: Floats) -> Scale:
        """Reads the rows (N, D) block by block."""
        total = np.zeros(embeddings.shape[1])
        for start in range(0, len(embeddings), BLOCK):
            total += embeddings[start : start + BLOCK].sum(axis=0, dtype=np.float64)
        return cls((total / max(1, len(embeddings))).astype(np.float32))

    def directions(self, rows: Floats) -> Floats:
        """(N, D) -> (N, D)"""
        centred = rows - self.mean
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        return np.asarray(centred / np.maximum(lengths, 1e-12), dtype=np.float32)


class Coverage:
    """Chooses rows of (N, D) embeddings, which may lie in a file; at any time a few thousand rows are in memory."""

    def __init__(self, embeddings: Floats, weights: Floats | None = None, *, seed: int = 0) -> None:
        """`weights` (N,) say how much each photo is worth covering; None: all the same."""
        self._embeddings, self._scale = embeddings, Scale.of(embeddings)
        sample = np.random.default_rng(seed).permutation(len(embeddings))[:MOST_REFERENCES]
        sample.sort()
        self._references = self._scale.directions(embeddings[sample])  # (M, D)
        self._weights = np.ones(len(sample), np.float32) if weights is None else weights[sample].astype(np.float32)
        self._covered = np.zeros(len(sample), np.float32)  # (M,)
        self._taken = np.empty((0, embeddings.shape[1]), np.float32)  # directions that are known or chosen

    def know(self, embeddings: Floats) -> None:
        """Photos (K, D) that are labelled already, and whose near-duplicates are not worth a label."""
        for start in range(0, len(embeddings), BLOCK):
            self._take(self._scale.directions(embeddings[start : start + BLOCK]))

    @property
    def share(self) -> float:
        """How well the known and chosen photos stand for all of them: 1 where each has its like among them."""
        return float(np.average(self._covered, weights=self._weights)) if len(self._covered) else 1.0

    def choose(self, count: int) -> list[int]:
        """At most `count` rows, the best first; fewer where all others are near-duplicates of known or chosen ones."""
        bounds = self._all_gains()  # (N,)
        chosen: list[int] = []
        while len(chosen) < count and (row := self._best(bounds)) is not None:
            self._take(self._scale.directions(self._embeddings[row : row + 1]))
            bounds[row] = -np.inf
            chosen.append(row)
        return chosen

    def _best(self, bounds: Floats) -> int | None:
        """The row of the largest gain that is no near-duplicate; `bounds` are brought up to date on the way."""
        fresh: dict[int, float] = {}
        while True:
            size = min(RECHECKED, len(bounds))
            rows = np.argpartition(-bounds, size - 1)[:size]
            rows = rows[np.argsort(-bounds[rows], kind="stable")]
            best = int(rows[0])
            if bounds[best] == -np.inf:
                return None
            if best in fresh:
                return best
            stale = np.array([row for row in rows if row not in fresh and bounds[row] > -np.inf], dtype=np.intp)
            directions = self._scale.directions(self._embeddings[stale])
            gains = self._gains(directions)
            gains[self._is_taken(directions)] = -np.inf
            bounds[stale] = gains
            fresh.update(zip(stale.tolist(), gains.tolist(), strict=True))

    def _is_taken(self, directions: Floats) -> NDArray[np.bool_]:
        """(R,) whether a row is a near-duplicate of a known or chosen one."""
        if not len(self._taken):
            return np.zeros(len(directions), bool)
        return np.asarray((directions @ self._taken.T).max(axis=1) >= SAME)

    def _all_gains(self) -> Floats:
        """(N,), computed block by block."""
        parts = [
            self._gains(self._scale.directions(self._embeddings[start : start + BLOCK]))
            for start in range(0, len(self._embeddings), BLOCK)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _gains(self, directions: Floats) -> Floats:
        """(R,) what each row would add."""
        kernel = self._kernel(directions)  # (R, M)
        kernel -= self._covered
        np.maximum(kernel, 0, out=kernel)
        return np.asarray(kernel @ self._weights, dtype=np.float32)

    def _kernel(self, directions: Floats) -> Floats:
        """(R, M); directions that have nothing in common have a squared distance of 2, which is also the mean."""
        kernel = directions @ self._references.T
        kernel -= 1
        kernel /= np.float32(WIDTH)
        return np.asarray(np.exp(kernel, out=kernel))

    def _take(self, directions: Floats) -> None:
        self._covered = np.maximum(self._covered, self._kernel(directions).max(axis=0, initial=0))
        self._taken = np.concatenate([self._taken, directions])
