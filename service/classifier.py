"""Classifier: an artifact and images in, predictions out. Knows neither files of results nor HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ArtifactInconsistent, ImageError
from handful.service.artifact.folder import Artifact, open_artifact
from handful.service.artifact.preprocessing import Preprocessing, stacked
from handful.service.artifact.unknown import UnknownDetector
from handful.service.compute.network import Network, build_network
from handful.service.compute.pipeline import Batch, run_batches
from numpy.typing import NDArray
from torch import Tensor

TTA_BATCH = 5  # images of 11 views each: 55 of the 56 or 64 rows that the network then runs


@dataclass(frozen=True)
class Prediction:
    """One image's answer; `probabilities` stand in the order of the artifact's labels."""

    label: str | None  # None: unknown
    confidence: float  # the calibrated probability of the likeliest label
    unknown: bool
    probabilities: tuple[float, ...]
    embedding: NDArray[np.float32] = field(compare=False, repr=False)  # (D,) of the image itself, without its ten views


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
        ranges = card.int8.ranges if card.int8 else None
        network = build_network(artifact.config, card.head.kind, artifact.weights(), len(card.labels), ranges)
        return cls(card, preprocessing, network, unknown)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    def read(self, source: bytes | Path) -> Tensor:
        """One image -> `(3, S, S)` float32; raises an `ImageError`."""
        return self.preprocessing(self.preprocessing.read(source))

    def read_views(self, source: bytes | Path) -> Tensor:
        """One image -> `(11, 3, S, S)` float32: as `read` gives it, then its ten views; raises an `ImageError`."""
        image = self.preprocessing.read(source)
        return torch.cat([stacked([self.preprocessing(image)]), self.preprocessing.ten_views(image)])

    def predict(self, pixels: Tensor) -> list[Prediction]:
        """`(N, 3, S, S)` float32 -> N predictions."""
        return self.judge(self.network.embed(pixels))

    def predict_views(self, views: Tensor) -> list[Prediction]:
        """`(N, 11, 3, S, S)` float32 -> N predictions: probabilities averaged over the ten views.

        Whether it is unknown is asked of the first view alone: that is what the threshold was drawn for.
        """
        embeddings = self.network.embed(views.flatten(0, 1)).view(*views.shape[:2], -1)  # (N, 11, D)
        averaged = self._probabilities(embeddings[:, 1:]).mean(dim=1)
        return self._predictions(averaged, embeddings[:, 0])

    def judge(self, embeddings: Tensor) -> list[Prediction]:
        """`(N, D)` float32 -> N predictions."""
        return self._predictions(self._probabilities(embeddings), embeddings)

    def _probabilities(self, embeddings: Tensor) -> Tensor:
        """`(..., D)` -> `(..., L)` float64."""
        return torch.softmax(self.network.logits(embeddings).double() / self.card.temperature, dim=-1)

    def _predictions(self, probabilities: Tensor, embeddings: Tensor) -> list[Prediction]:
        rows = embeddings.numpy()
        refused = self.unknown.is_unknown(rows)
        return [self._prediction(p, bool(u), e) for p, u, e in zip(probabilities.numpy(), refused, rows, strict=True)]

    def _prediction(self, probabilities: np.ndarray, unknown: bool, embedding: np.ndarray) -> Prediction:  # noqa: FBT001
        best = int(probabilities.argmax())
        label = None if unknown else self.labels[best]
        return Prediction(label, float(probabilities[best]), unknown, tuple(map(float, probabilities)), embedding)

    def expect(self, images: int) -> None:
        """So many images will be classified: the network is made ready for as many now."""
        self.network.expect(images, self.preprocessing.side_pixels)

    def classify(self, paths: Iterable[Path], *, tta: bool = False) -> Iterator[tuple[Path, Prediction | ImageError]]:
        """Every path once, in order, each with its prediction or its own error; memory stays flat.

        `tta` averages over ten views of each image, at about eleven times the work.
        """
        network = self.network
        network.prepare()
        read, size = (self.read_views, TTA_BATCH) if tta else (self.read, network.batch)
        predict = self.predict_views if tta else self.predict

        def answers(batch: Batch[Path, Tensor]) -> list[tuple[Path, Prediction | ImageError]]:
            rows = iter(() if batch.pixels is None else predict(batch.pixels))
            results = [result if isinstance(result, ImageError) else next(rows) for result in batch.read]
            return list(zip(batch.sources, results, strict=True))

        answered = run_batches(paths, read, lambda tensor: tensor, answers, size=size, lanes=network.lanes)
        for batch in answered:
            yield from batch
