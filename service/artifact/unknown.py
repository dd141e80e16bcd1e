"""Whether an image resembles any label.

The score is one minus the cosine between an embedding and the nearest label's mean embedding. Both come from the
network uncentred: after its last ReLU, zero means that a pattern is absent, and angles measured from there change
little with the style of a photo. Of a dozen scores, this one recognised the most foreign images at an equal loss of
real photos (training/LOG.md). It needs no training photo, only one mean per label.

A model may have been shown photos of no label (a folder `other/`). Then the cosine between an embedding and their mean
embedding is added, with a weight: what resembles them is less like a label. At least `other_least` is added, so
that what resembles neither the labels nor these photos is unknown too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from handful.service.artifact.errors import ArtifactInconsistent
from numpy.typing import NDArray

METHOD = "cosine_to_label_mean"
TAUGHT = "cosine_to_label_mean_and_other"  # another name, since an earlier release would leave the second part out
OTHER_WEIGHT = 0.5  # between 0.3 and 1 it hardly matters (training/LOG.md)


@dataclass(frozen=True)
class UnknownDetector:
    """`directions` (L, D) float32 are the label means at length 1; `threshold` is a score.

    `other` (D,) is the mean of the photos of no label at length 1; None where there were none.
    """

    directions: NDArray[np.float32]
    threshold: float
    other: NDArray[np.float32] | None = None
    other_least: float = 0.0

    @classmethod
    def of(
        cls,
        label_means: NDArray[np.float32],
        threshold: float,
        other_mean: NDArray[np.float32] | None = None,
        other_least: float = 0.0,
    ) -> UnknownDetector:
        other = None if other_mean is None else _unit(other_mean[None])[0]
        return cls(_unit(label_means), float(threshold), other, float(other_least))

    @classmethod
    def from_parts(cls, tensors: dict[str, NDArray[np.float32]], settings: dict[str, Any]) -> UnknownDetector:
        """The inverse of `tensors` and `settings`."""
        method = settings.get("method")
        if method not in {METHOD, TAUGHT}:
            raise ArtifactInconsistent(f"got the unknown method {method!r}; known are {METHOD!r} and {TAUGHT!r}")
        if "unknown.directions" not in tensors or "threshold" not in settings:
            raise ArtifactInconsistent("the unknown score needs the tensor unknown.directions and a threshold")
        if method == TAUGHT and "unknown.other" not in tensors:
            raise ArtifactInconsistent(f"the unknown method {method!r} needs the tensor unknown.other")
        other = tensors["unknown.other"] if method == TAUGHT else None
        least = float(settings.get("other_least") or 0)
        return cls(tensors["unknown.directions"], float(settings["threshold"]), other, least)

    @property
    def tensors(self) -> dict[str, NDArray[np.float32]]:
        taught = {} if self.other is None else {"unknown.other": self.other}
        return {"unknown.directions": self.directions, **taught}

    @property
    def settings(self) -> dict[str, Any]:
        if self.other is None:
            return {"method": METHOD, "threshold": self.threshold}
        return {"method": TAUGHT, "threshold": self.threshold, "other_least": self.other_least}

    def score(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) for embeddings (N, D), in [0, 2] without `other`; a larger score means less like any label."""
        return self.scores_of(1 - (_unit(embeddings) @ self.directions.T).max(axis=1), embeddings)

    def scores_of(self, distances: NDArray[np.float32], embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,) the scores of embeddings (N, D) whose distances (N,) to a label are known."""
        if self.other is None:
            return np.asarray(distances)
        likeness = np.float32(OTHER_WEIGHT) * (_unit(embeddings) @ self.other)
        return np.asarray(distances + np.maximum(likeness, np.float32(self.other_least)))

    def is_unknown(self, embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,); an embedding that is not finite is unknown."""
        return self.above(self.score(embeddings))

    def above(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,) whether the score lies above the threshold; true of what is not a number."""
        return np.asarray(~(scores <= self.threshold))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)
