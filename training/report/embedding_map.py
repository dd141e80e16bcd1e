"""Embeddings -> a map on which similar photos lie close together (PCA to two dimensions)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from handful.training.report.page import ReportPage
from handful.training.report.plots import COLOURS, MapPoints, map_plot
from numpy.typing import NDArray

MAX_MAP_IMAGES = 2000
MAX_COLOURED_LABELS = len(COLOURS)

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def map_sample(count: int, seed: int) -> NDArray[np.intp]:
    """Row numbers of the photos that a map shows, ascending: all, or a random choice of `MAX_MAP_IMAGES`."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:MAX_MAP_IMAGES])


def embedding_map(
    page: ReportPage,
    names: Sequence[str],
    embeddings: Floats,
    labels: Labels,
    mistaken: NDArray[np.bool_],
    learned: tuple[Floats, Labels] | None = None,
) -> dict[str, Any]:
    """The template's variables about the map: its picture, and the share of the variance that it keeps.

    `labels` (M,) index the names; -1 means another label. `learned` holds the embeddings and labels of the training
    photos, drawn pale in the background. Rings mark the `mistaken` photos (M,). The axes are the principal components
    of everything that is shown.
    """
    colour_of_label = _colours(labels, len(names))
    everything = embeddings if learned is None else np.concatenate([learned[0], embeddings])
    points, kept = _two_dimensions(everything)
    below = len(everything) - len(embeddings)
    background = None if learned is None else MapPoints(points[:below], colour_of_label[learned[1]])
    rings = mistaken if 2 * mistaken.sum() <= len(mistaken) else np.zeros_like(mistaken)  # else they hide everything
    coloured = [names[label] for label in np.flatnonzero(colour_of_label[:-1] >= 0).tolist()]
    picture = map_plot(MapPoints(points[below:], colour_of_label[labels]), coloured, rings, background)
    drawn = page.plot("embedding_map.png", picture)
    return {"picture": drawn, "kept": kept, "background": learned is not None, "rings": bool(rings.any())}


def _colours(labels: Labels, count: int) -> Labels:
    """(L + 1,) a colour number for each of the largest labels, -1 for the others; the last entry serves label -1."""
    images = np.bincount(labels[labels >= 0], minlength=count)
    coloured = np.sort(np.argsort(-images, kind="stable")[:MAX_COLOURED_LABELS])
    colour_of_label = np.full(count + 1, -1)
    colour_of_label[coloured] = np.arange(len(coloured))
    return colour_of_label


def _two_dimensions(embeddings: Floats) -> tuple[NDArray[np.float64], float]:
    """The first two principal components (N, 2), and the share of the variance that they keep."""
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore", divide="ignore"):  # identical photos have no variance
        pca = PCA(2, svd_solver="randomized", random_state=0).fit(embeddings)
    kept = float(np.nan_to_num(pca.explained_variance_ratio_).sum())
    return np.asarray(pca.transform(embeddings), dtype=np.float64), kept
