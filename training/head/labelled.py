"""What a head learns from: the embedding, the label and the group of each photo."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from handful.training.photos.inspection import Inspected
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class LabelledEmbeddings:
    """N photos of L labels; near-duplicates share a group, and groups are never divided between folds."""

    embeddings: Floats  # (N, D)
    labels: Labels  # (N,) in [0, L)
    groups: Labels  # (N,)
    label_count: int  # L; a label may have no photo here
    weights: Floats | None = None  # (N,) how many photos each counts as; None: as one
    lengths_count: bool = False  # an embedding's length tells something, as that of pixels tells how bright they are

    @classmethod
    def of(cls, inspected: Inspected) -> LabelledEmbeddings:
        return cls(inspected.embeddings, inspected.label_index, inspected.groups, len(inspected.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Rows) -> LabelledEmbeddings:
        """Only these photos, with the same label numbers."""
        return replace(
            self,
            embeddings=self.embeddings[rows],
            labels=self.labels[rows],
            groups=self.groups[rows],
            weights=None if self.weights is None else self.weights[rows],
        )

    @property
    def image_weights(self) -> Floats:
        """(N,)"""
        return np.ones(len(self), np.float32) if self.weights is None else self.weights

    def weighted(self, rows: Rows, weight: float) -> LabelledEmbeddings:
        """Each of these photos counts as so many."""
        weights = np.ones(len(self), np.float32)
        weights[rows] = weight
        return replace(self, weights=weights)

    def with_embeddings(self, embeddings: Floats) -> LabelledEmbeddings:
        """The same photos as another network, or another basis, describes them: (N, D')."""
        return replace(self, embeddings=embeddings)
