"""What a worker and the process that explains say to each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from handful.service.artifact.prediction import Prediction
from pydantic import BaseModel, ConfigDict

READY = b"ready"  # the first message, once everything is imported
PICTURE, REFUSED, FAILED = b"P", b"R", b"F"  # an answer's first byte; a PNG or a sentence follows


class ExplainTask(BaseModel):
    """One answer of a version that is to be explained.

    Two messages follow: the `(S, S, 3)` picture that the network saw, and the photo to draw as the bytes of a file.
    """

    model_config = ConfigDict(frozen=True)

    path: Path  # of the version's folder
    folder: tuple[int, int]  # its device and inode: another folder may lie at the path by now
    model: str
    label: str | None
    confidence: float
    unknown: bool
    probabilities: tuple[float, ...]

    @property
    def prediction(self) -> Prediction:
        """Without the embedding and the score, which no picture shows."""
        nothing = np.empty(0, np.float32)
        return Prediction(self.label, self.confidence, self.unknown, self.probabilities, nothing, 0.0)
