"""Whether an image resembles any label.

The score is one minus the cosine between an embedding and the nearest label's mean embedding. Both come from the
network uncentred: after its last ReLU, zero means that a pattern is absent, and angles measured from there change
little with the style of a photo. Of a dozen scores, this one recognised the most foreign images at an equal loss of
real photos (training/LOG.md). It needs no training photo, only one mean per label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from handful.service.artifact.errors import ArtifactInconsistent
from numpy.typing import NDArray

METHOD = "cosine_to_label_mean"


@dataclass(frozen=True)
class UnknownDetector:
    """`directions` (L, D) float32 are the label means at length 1; `threshold` is a score in [0, 2]."""

    directions: NDArray[np.float32]
    threshold: float

    @classmethod
    def of(cls, label_means: NDArray[np.float32], threshold: float) -> UnknownDetector:
        return cls(_unit(label_means), float(threshold))

    @classmethod
    def from_parts(cls, tensors: dict[str, NDArray[np.float32]], settings: dict[str, Any]) -> UnknownDetector:
        """The inverse of `tensors` and `settings`."""
        if settings.get("method") != METHOD:
            raise ArtifactInconsistent(f"got the unknown method {settings.get('method')!r}; known is {METHOD!r}")
        if "unknown.directions" not in tensors or "threshold" not in settings:
            raise ArtifactInconsistent("the unknown score needs the tensor unknown.directions and a threshold")
        return cls(tensors["unknown.directions"], float(settings["threshold"]))

    @property
    def tensors(self) -> dict[str, NDArray[np.float32]]:
        return {"unknown.directions": self.directions}

    @property
    def settings(self) -> dict[str, Any]:
        return {"method": METHOD, "threshold": self.threshold}

    def score(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) in [0, 2] for embeddings (N, D); a larger score means less like any label."""
        return np.asarray(1 - (_unit(embeddings) @ self.directions.T).max(axis=1))

    def is_unknown(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,); an embedding that is not finite is unknown."""
        return np.asarray(~(self.score(embeddings) <= self.threshold))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)
