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

    @classmethod
    def of(cls, inspected: Inspected) -> LabelledEmbeddings:
        return cls(inspected.embeddings, inspected.label_index, inspected.groups, len(inspected.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Rows) -> LabelledEmbeddings:
        """Only these photos, with the same label numbers."""
        return replace(self, embeddings=self.embeddings[rows], labels=self.labels[rows], groups=self.groups[rows])

    def with_embeddings(self, embeddings: Floats) -> LabelledEmbeddings:
        """The same photos as another network, or another basis, describes them: (N, D')."""
        return replace(self, embeddings=embeddings)
