"""Classifier: an artifact and images in, predictions out. Knows neither files of results nor HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from service.artifact.card import ModelCard
from service.artifact.errors import ArtifactInconsistent, ImageError
from service.artifact.folder import Artifact, open_artifact
from service.artifact.network import Network, build_network
from service.artifact.pipeline import read_batches
from service.artifact.preprocessing import Preprocessing
from service.artifact.unknown import UnknownDetector

BATCH = 32  # images; more gains nothing on a CPU, and a GPU is far from full with one folder's worth


@dataclass(frozen=True)
class Prediction:
    """One image's answer; `probabilities` stand in the order of the artifact's labels."""

    label: str | None  # None: unknown
    confidence: float  # the calibrated probability of the likeliest label
    unknown: bool
    probabilities: tuple[float, ...]


class Classifier:
    """Everything one version needs to answer; safe to share between threads."""

    def __init__(
        self, card: ModelCard, preprocessing: Preprocessing, network: Network, unknown: UnknownDetector
    ) -> None:
        self.card, self.preprocessing, self.network, self.unknown = card, preprocessing, network, unknown

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """From an artifact's folder; raises an `ArtifactError` where it cannot be trusted."""
        return cls.from_artifact(open_artifact(path))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Classifier:
        card = artifact.card
        try:
            preprocessing = Preprocessing.from_pretrained_cfg(artifact.config["pretrained_cfg"])
            arrays = {name: tensor.numpy() for name, tensor in artifact.embeddings().items()}
            unknown = UnknownDetector.from_parts(arrays, card.unknown.model_dump())
        except (KeyError, ValueError) as e:
            raise ArtifactInconsistent(f"{artifact.path} does not describe its input or its unknowns: {e!s}.") from e
        network = build_network(artifact.config, card.head.kind, artifact.weights(), len(card.labels))
        return cls(card, preprocessing, network, unknown)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    def read(self, source: bytes | Path) -> Tensor:
        """One image -> `(3, S, S)` float32; raises an `ImageError`."""
        return self.preprocessing(self.preprocessing.read(source))

    def predict(self, pixels: Tensor) -> list[Prediction]:
        """`(N, 3, S, S)` float32 -> N predictions."""
        return self.judge(self.network.embed(pixels))

    def judge(self, embeddings: Tensor) -> list[Prediction]:
        """`(N, D)` float32 -> N predictions."""
        logits = self.network.logits(embeddings)
        probabilities = torch.softmax(logits.double() / self.card.temperature, dim=1).numpy()
        refused = self.unknown.is_unknown(embeddings.numpy())
        return [self._prediction(p, bool(u)) for p, u in zip(probabilities, refused, strict=True)]

    def _prediction(self, probabilities: np.ndarray, unknown: bool) -> Prediction:  # noqa: FBT001
        best = int(probabilities.argmax())
        label = None if unknown else self.labels[best]
        return Prediction(label, float(probabilities[best]), unknown, tuple(map(float, probabilities)))

    def classify(
        self, paths: Iterable[Path], *, workers: int | None = None
    ) -> Iterator[tuple[Path, Prediction | ImageError]]:
        """Every path once, in order, each with its prediction or its own error; memory stays flat."""
        for batch in read_batches(paths, self.read, lambda tensor: tensor, size=BATCH, workers=workers):
            answers = iter(self.predict(batch.pixels) if batch.pixels is not None else ())
            for source, result in zip(batch.sources, batch.read, strict=True):
                yield source, result if isinstance(result, ImageError) else next(answers)
