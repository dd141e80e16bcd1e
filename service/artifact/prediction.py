"""What a classifier answers, by whatever runtime; loads neither torch nor an image library."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from handful.service.artifact.unknown import UnknownDetector
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """The answer for one image; `probabilities` are in the order of the artifact's labels."""

    label: str | None  # None if unknown
    confidence: float  # the calibrated probability of the most probable label
    unknown: bool
    probabilities: tuple[float, ...]
    embedding: NDArray[np.float32] = field(compare=False, repr=False)  # (D,) of the image itself, not of its ten views
    unknown_score: float = field(compare=False, repr=False)  # above the card's threshold it is unknown

    @classmethod
    def of(
        cls,
        labels: tuple[str, ...],
        probabilities: NDArray[np.floating],
        unknown_score: float,
        embedding: NDArray[np.float32],
        *,
        unknown: bool,
    ) -> Prediction:
        """From the probabilities (L,) and the embedding (D,) of one image."""
        best = int(probabilities.argmax())
        shares = tuple(map(float, probabilities))
        return cls(None if unknown else labels[best], shares[best], unknown, shares, embedding, unknown_score)


def predictions_of(
    labels: tuple[str, ...],
    probabilities: NDArray[np.float64],
    embeddings: NDArray[np.float32],
    unknown: UnknownDetector,
) -> list[Prediction]:
    """From the probabilities (N, L) and the embeddings (N, D) of N images."""
    scores = unknown.score(embeddings)
    rows = zip(probabilities, scores, unknown.above(scores), embeddings, strict=True)
    return [
        Prediction.of(labels, shares, float(score), embedding, unknown=bool(above))
        for shares, score, above, embedding in rows
    ]
