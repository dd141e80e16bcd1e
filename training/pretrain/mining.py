"""Data mining: which pictures resemble the things that matter most, so that they get more crops than others.

Photos of such things are few, but a large collection shows some of them too, from other sides and on other
backgrounds. The teacher's embeddings find them: whole labels (`mine_by_label`) and single pictures (`mine_by_picture`).
"""

from __future__ import annotations

import numpy as np

LABEL_SHARE = 0.1  # of the labels are chosen
NEAREST = 50  # views of the wanted things that a picture is compared with
BLOCK = 4096  # pictures compared at a time
CHOSEN_PICTURES = 300  # per file and wanted source


def mine_by_label(embeddings: np.ndarray, labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row numbers of all pictures whose label is among the `LABEL_SHARE` most similar to the wanted things.

    `embeddings` (N, D) and `wanted` (M, D) have rows of unit length; `labels` is (N,). A label's similarity is the
    mean over its pictures of each one's mean cosine to the `NEAREST` wanted views.
    """
    nearest = min(NEAREST, len(wanted))
    similarity = np.concatenate(
        [
            np.partition(embeddings[start : start + BLOCK] @ wanted.T, -nearest, axis=1)[:, -nearest:].mean(1)
            for start in range(0, len(embeddings), BLOCK)
        ]
    )  # (N,) cosine
    known, group = np.unique(labels, return_inverse=True)
    mean = np.bincount(group, similarity) / np.bincount(group)  # (labels,)
    chosen = np.argsort(-mean, kind="stable")[: max(1, round(len(known) * LABEL_SHARE))]
    return np.flatnonzero(np.isin(group, chosen))


def mine_by_picture(embeddings: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row numbers of the `CHOSEN_PICTURES` closest in direction to the mean of the wanted views; unit-length rows.

    The mean is used, not the nearest view: single views of a bag also show a logo or a leaf, and those are close to
    pictures of text and trees.
    """
    return np.sort(np.argsort(-(embeddings @ wanted.mean(0)), kind="stable")[:CHOSEN_PICTURES])
