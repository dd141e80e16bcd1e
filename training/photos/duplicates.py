"""Embeddings and labels -> pairs of photos that are almost the same, and the groups that these pairs make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEAR_DUPLICATE = (0.85, 0.96)  # the threshold lies between these two; see training/LOG.md
BLOCK = 2048  # rows that are compared with as many others at once


def near_duplicates(embeddings: np.ndarray, labels: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs (i < j, likeness) of rows of `(N, D)` that are far more alike than neighbours usually are.

    Each row is paired with the most alike earlier row at most. Likeness is 1 for equal embeddings and 0 on average
    for two photos of one label. How alike different photos look depends on the backbone and on the folder. The
    threshold is therefore the one for outliers among the likenesses of nearest neighbours, kept between two fixed
    values.
    """
    nearest = np.full(len(embeddings), -1.0)  # (N,) likeness of the most alike row
    earlier = np.full(len(embeddings), -1.0)  # (N,) likeness of the most alike earlier row
    partner = np.zeros(len(embeddings), dtype=np.intp)  # (N,) that row
    for rows, others, likeness in _likeness(embeddings, labels):
        nearest[rows] = np.maximum(nearest[rows], likeness.max(axis=1))
        nearest[others] = np.maximum(nearest[others], likeness.max(axis=0))
        likeness[rows[:, None] < others] = -1
        best = likeness.argmax(axis=1)
        most = likeness[np.arange(len(rows)), best]
        better = most > earlier[rows]
        earlier[rows[better]], partner[rows[better]] = most[better], others[best[better]]
    return [(int(partner[row]), int(row), float(earlier[row])) for row in np.flatnonzero(earlier >= _outlier(nearest))]


def group_numbers(pairs: Sequence[tuple[int, int]], count: int) -> np.ndarray:
    """(count,) int64: rows that pairs connect, directly or over others, share a number."""
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs), dtype=bool), (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def other_groups(embeddings: np.ndarray) -> np.ndarray:
    """(M,) int64: near-duplicates among photos of no label (M, D) share a number."""
    count = len(embeddings)
    pairs = near_duplicates(embeddings, np.zeros(count, np.int64)) if count > 1 else []
    return group_numbers([(first, second) for first, second, _ in pairs], count)


def _likeness(embeddings: np.ndarray, labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of rows (R,), blocks of rows that are not later (Q,), and their likeness (R, Q).

    Likeness is 1 - d² / 2v, where d is the distance and v the variance around the labels' means; a row's likeness
    with itself is -1. Every pair of rows comes once, and one block at a time is in memory.
    """
    numbers, index = np.unique(labels, return_inverse=True)
    centred = (embeddings - embeddings.mean(axis=0, dtype=np.float64)).astype(np.float32)  # loses fewer digits below
    means = np.stack([centred[index == n].mean(axis=0) for n in range(len(numbers))])
    blocks = np.array_split(np.arange(len(centred)), -(-len(centred) // BLOCK))
    around = sum(float(np.square(centred[rows] - means[index[rows]], dtype=np.float64).sum()) for rows in blocks)
    spread = max(2 * around / max(1, len(centred) - len(numbers)), 1e-12)
    squares = np.square(centred).sum(axis=1)
    for number, rows in enumerate(blocks):
        for others in blocks[: number + 1]:
            distance = squares[rows, None] + squares[others] - 2 * centred[rows] @ centred[others].T
            likeness = 1 - distance / np.float32(spread)
            likeness[rows[:, None] == others] = -1
            yield rows, others, likeness


def _outlier(nearest: np.ndarray) -> float:
    """Median + 3.5 deviations of the nearest likeness (N,), on Fisher's scale, where it is roughly normal."""
    z = np.arctanh(np.clip(nearest, -0.999, 0.999))
    deviation = 1.4826 * np.median(np.abs(z - np.median(z)))
    return float(np.clip(np.tanh(np.median(z) + 3.5 * deviation), *NEAR_DUPLICATE))
