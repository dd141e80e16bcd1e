"""Which pictures resemble the things one cares about: they are worth more crops than a landscape.

Photos of such things are few; among many pictures of everything some show them as well, from other sides and on other
grounds. The teacher finds them, by label (`related`) and one by one (`alike`).
"""

from __future__ import annotations

import numpy as np

SHARE = 0.1  # of the labels, that count as related
NEAREST = 50  # views of things that a picture is compared with
BLOCK = 4096  # pictures compared at a time
ALIKE = 300  # pictures that count as alike, of each file for each source


def related(of: np.ndarray, labels: np.ndarray, things: np.ndarray) -> np.ndarray:
    """The numbers of all rows of `of` whose label is among the `SHARE` most like `things`; rows of unit length.

    A label is as like as its pictures are on average to the things nearest to each.
    """
    nearest = min(NEAREST, len(things))
    likeness = np.concatenate(
        [
            np.partition(of[start : start + BLOCK] @ things.T, -nearest, axis=1)[:, -nearest:].mean(1)
            for start in range(0, len(of), BLOCK)
        ]
    )  # (N,) cosine
    known, group = np.unique(labels, return_inverse=True)
    mean = np.bincount(group, likeness) / np.bincount(group)  # (labels,)
    chosen = np.argsort(-mean, kind="stable")[: max(1, round(len(known) * SHARE))]
    return np.flatnonzero(np.isin(group, chosen))


def alike(of: np.ndarray, things: np.ndarray) -> np.ndarray:
    """The numbers of the `ALIKE` rows of `of` nearest in direction to the mean of `things`; rows of unit length.

    The mean, because single views of a bag also show a logo or a leaf, and then text and trees are near.
    """
    return np.sort(np.argsort(-(of @ things.mean(0)), kind="stable")[:ALIKE])
