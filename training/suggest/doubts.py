"""What a model cannot tell apart, or has seen nothing like: how much a photo's label is worth to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from handful.training.retraining.champion import ChampionModel
from handful.training.suggest.coverage import BLOCK
from numpy.typing import NDArray

FEW = 5  # photos per label; with fewer, a model's doubts say little (training/LOG.md)
LEAST_WORTH = 0.01  # of a photo that the model is sure of


@dataclass(frozen=True)
class Doubts:
    """What the model answers to the photos of a pool."""

    labels: tuple[str, ...]
    answers: NDArray[np.intp]  # (N,)
    confidence: NDArray[np.float32]  # (N,)
    margin: NDArray[np.float32]  # (N,)
    unknown: NDArray[np.bool_]  # (N,)

    @classmethod
    def of(cls, champion: ChampionModel, embeddings: NDArray[np.float32]) -> Doubts:
        """The champion's answers to embeddings (N, D), block by block."""
        parts = []
        for start in range(0, len(embeddings), BLOCK):
            rows = np.array(embeddings[start : start + BLOCK])
            answers = champion.classifier.predict_embeddings(torch.from_numpy(rows))
            shares = np.array([each.probabilities for each in answers])
            parts.append((shares.argmax(axis=1), shares.max(axis=1), margins(shares), [a.unknown for a in answers]))
        answered, confidence, margin, unknown = (np.concatenate(part) for part in zip(*parts, strict=True))
        return cls(champion.classifier.labels, answered, confidence, margin, unknown)

    @property
    def worth(self) -> NDArray[np.float32]:
        """(N,)"""
        return worth(self.margin, self.unknown)


def margins(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) by how much the likeliest of the labels leads, of probabilities (N, L); of a single label its own."""
    if shares.shape[1] == 1:
        return shares[:, 0]
    best = np.partition(shares, -2, axis=1)
    return np.asarray(best[:, -1] - best[:, -2])


def worth(margin: NDArray[np.floating], unknown: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(N,) in [LEAST_WORTH, 1]"""
    return np.maximum(np.where(unknown, 1.0, 1.0 - margin), LEAST_WORTH).astype(np.float32)
