"""The teacher's embeddings as what the student's projection is turned towards: fewer numbers, of unit length."""

from __future__ import annotations

import numpy as np


def principal(targets: list[np.ndarray], dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(D,)` and first principal directions `(D, dims)` of a sample of the targets."""
    sample = np.concatenate([t[:: max(1, len(t) // 20000)] for t in targets]).astype(np.float32)
    mean = sample.mean(0)
    _, vectors = np.linalg.eigh(np.cov(sample - mean, rowvar=False))
    return mean, np.ascontiguousarray(vectors[:, ::-1][:, :dims], dtype=np.float32)


def reduced(targets: np.ndarray, basis: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """`(N, D)` embeddings -> `(N, dims)` float32 of unit length: what the student's projection is turned towards."""
    mean, directions = basis
    rows: np.ndarray = (targets.astype(np.float32) - mean) @ directions
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows
