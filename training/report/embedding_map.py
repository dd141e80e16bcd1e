"""Embeddings -> a picture in which near means alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from handful.training.report.page import ReportPage
from handful.training.report.plots import COLOURS, Dots, map_plot
from numpy.typing import NDArray

MAX_MAP_IMAGES = 2000
MAX_COLOURED_LABELS = len(COLOURS)

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def map_sample(count: int, seed: int) -> NDArray[np.intp]:
    """Which of `count` photos a map shows, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:MAX_MAP_IMAGES])


def embedding_map(
    page: ReportPage,
    names: Sequence[str],
    embeddings: Floats,
    labels: Labels,
    mistaken: NDArray[np.bool_],
    learned: tuple[Floats, Labels] | None = None,
) -> dict[str, Any]:
    """What a template says of the map: its picture, and the share of the spread that it keeps.

    Labels (M,) index the names, -1 is none of them. `learned`, the photos that were trained on, lie pale beneath; the
    axes are those of most spread among all that is shown.
    """
    colour_of_label = _colours(labels, len(names))
    everything = embeddings if learned is None else np.concatenate([learned[0], embeddings])
    points, kept = _two_dimensions(everything)
    below = len(everything) - len(embeddings)
    background = None if learned is None else Dots(points[:below], colour_of_label[learned[1]])
    coloured = [names[label] for label in np.flatnonzero(colour_of_label[:-1] >= 0).tolist()]
    picture = map_plot(Dots(points[below:], colour_of_label[labels]), coloured, mistaken, background)
    return {"picture": page.add("embedding_map.png", picture), "kept": kept, "background": learned is not None}


def _colours(labels: Labels, count: int) -> Labels:
    """(L + 1,) a number for each of the largest labels, -1 for the others; the last is for the label -1."""
    images = np.bincount(labels[labels >= 0], minlength=count)
    coloured = np.sort(np.argsort(-images, kind="stable")[:MAX_COLOURED_LABELS])
    colour_of_label = np.full(count + 1, -1)
    colour_of_label[coloured] = np.arange(len(coloured))
    return colour_of_label


def _two_dimensions(embeddings: Floats) -> tuple[NDArray[np.float64], float]:
    """Points (N, 2) on the two axes of most spread, and the share of the spread that they keep."""
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore", divide="ignore"):  # photos that are all the same have no spread
        found = PCA(2, svd_solver="randomized", random_state=0).fit(embeddings)
    kept = float(np.nan_to_num(found.explained_variance_ratio_).sum())
    return np.asarray(found.transform(embeddings), dtype=np.float64), kept
