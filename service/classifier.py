"""An artifact and images -> predictions; knows neither result files nor HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ArtifactInconsistent, ImageError
from handful.service.artifact.folder import Artifact, open_artifact
from handful.service.artifact.label_names import in_one_form
from handful.service.artifact.prediction import Prediction as Prediction
from handful.service.artifact.prediction import predictions_of
from handful.service.artifact.preprocessing import Preprocessing, Source, stacked
from handful.service.artifact.unknown import UnknownDetector
from handful.service.compute.frozen_head import FrozenHead
from handful.service.compute.network import Network, build_network
from handful.service.compute.pipeline import Batch, run_batches
from handful.service.decoding.reader import PictureReader
from numpy.typing import NDArray
from torch import Tensor

# Images of 11 views each: the 55 rows are padded to 56 in batches of 16 (CPU), to 64 in batches of 32 (GPU).
TTA_BATCH = 5
S = TypeVar("S", bound=Source)
# raised when a network is built from a wrong description or wrong tensors
MISFITS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Classifier:
    """One version, loaded and ready to predict; safe to share between threads."""

    def __init__(
        self, card: ModelCard, preprocessing: Preprocessing, network: Network, unknown: UnknownDetector
    ) -> None:
        self.card, self.preprocessing, self.network, self.unknown = card, preprocessing, network, unknown
        self.labels = in_one_form(card.labels)
        self.head = FrozenHead.of(network.head, card.temperature)

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """From an artifact's folder; raises an `ArtifactError` if the artifact is incomplete or inconsistent."""
        return cls.from_artifact(open_artifact(path))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Classifier:
        try:
            return cls._built(artifact)
        except MISFITS as e:
            raise ArtifactInconsistent(f"{artifact.path} makes no classifier: {_first_lines(e)}.") from e

    @classmethod
    def _built(cls, artifact: Artifact) -> Classifier:
        card = artifact.card
        preprocessing = Preprocessing.from_pretrained_cfg(artifact.config["pretrained_cfg"])
        arrays = {name: tensor.numpy() for name, tensor in artifact.embeddings().items()}
        unknown = UnknownDetector.from_parts(arrays, card.unknown.model_dump())
        ranges = card.int8.ranges if card.int8 else None
        network = build_network(artifact.config, card.head.kind, artifact.weights(), len(card.labels), ranges)
        return cls(card, preprocessing, network, unknown)

    def check(self) -> None:
        """Answers one grey image. Raises `ArtifactInconsistent` if that gives no probabilities."""
        side = self.preprocessing.side_pixels
        try:
            (prediction,) = self.predict(torch.zeros(1, 3, side, side))
        except MISFITS as e:
            raise ArtifactInconsistent(f"{self.card.model} cannot answer a grey image: {_first_lines(e)}.") from e
        if not 0 <= prediction.confidence <= 1:
            raise ArtifactInconsistent(f"{self.card.model} answers a grey image with no probabilities.")

    def read(self, source: Source) -> Tensor:
        """One image -> `(3, S, S)` float32; raises an `ImageError`."""
        return self.preprocessing(self.preprocessing.read(source))

    def prepare(self, picture: NDArray[np.uint8]) -> Tensor:
        """The `(S, S, 3)` picture that the network sees -> `(3, S, S)` float32."""
        return self.preprocessing.normalised(picture)

    def answer(self, prepared: Sequence[Tensor], cores: int) -> list[Prediction]:
        """What `prepare` made of N pictures -> N predictions, on so many cores."""
        torch.set_num_threads(cores)  # of this thread, and of threads that compute for the first time later
        return self.predict(stacked(prepared))

    def read_views(self, source: Source) -> Tensor:
        """One image -> `(11, 3, S, S)` float32: `read`'s result, then the ten views; raises an `ImageError`."""
        image = self.preprocessing.read(source)
        return torch.cat([stacked([self.preprocessing(image)]), self.preprocessing.ten_views(image)])

    def predict(self, pixels: Tensor) -> list[Prediction]:
        """`(N, 3, S, S)` float32 -> N predictions."""
        return self.predict_embeddings(self.network.embed(pixels))

    def predict_views(self, views: Tensor) -> list[Prediction]:
        """`(N, 11, 3, S, S)` float32 -> N predictions: probabilities averaged over the ten views.

        Only the first view decides whether the image is unknown, as the threshold was set on unchanged images.
        """
        embeddings = self.network.embed(views.flatten(0, 1)).view(*views.shape[:2], -1)  # (N, 11, D)
        averaged = self.head.probabilities(embeddings[:, 1:].numpy()).mean(axis=1)
        return self._predictions(averaged, embeddings[:, 0])

    def predict_embeddings(self, embeddings: Tensor) -> list[Prediction]:
        """`(N, D)` float32 -> N predictions."""
        return self._predictions(self.head.probabilities(embeddings.numpy()), embeddings)

    def _predictions(self, probabilities: NDArray[np.float64], embeddings: Tensor) -> list[Prediction]:
        return predictions_of(self.labels, probabilities, embeddings.numpy(), self.unknown)

    @property
    def engine_label(self) -> str:
        """How the network is computed, such as `fused-bf16`."""
        return self.network.engine.label

    @property
    def engine_text(self) -> str:
        """The engines that are used, why, and what was timed, for a person."""
        return self.network.engine_text

    def choose_fastest_for(self, images: int | None) -> None:
        """Prepares the network for classifying so many images; None: for a service, which runs on."""
        self.network.choose_fastest_for(images, self.preprocessing.side_pixels)

    @property
    def batches_at_once(self) -> int | None:
        """How many batches are computed in parallel, each on its share of the cores; None: not on a CPU."""
        return self.network.parallel_batches if self.network.device.type == "cpu" else None

    @property
    def batch(self) -> int:
        """Images that the network computes at once."""
        return self.network.batch

    def limit_batch(self, images: int) -> None:
        self.network.batch = min(images, self.network.batch)

    def make_even(self) -> None:
        """From now on no answer depends on which other images are computed with it."""
        self.network.make_even()

    def classify(self, photos: Iterable[S], *, tta: bool = False) -> Iterator[tuple[S, Prediction | ImageError]]:
        """Yields each photo once, in order, with its prediction or its error; memory does not grow with the photos.

        `tta` averages over ten views of each image, which takes about eleven times as long.
        """
        network = self.network
        network.warm_up()
        size = TTA_BATCH if tta else network.batch
        predict = self.predict_views if tta else self.predict

        def predictions(batch: Batch[S, Tensor]) -> list[tuple[S, Prediction | ImageError]]:
            rows = iter(() if batch.pixels is None else predict(batch.pixels))
            results = [result if isinstance(result, ImageError) else next(rows) for result in batch.read]
            return list(zip(batch.sources, results, strict=True))

        with PictureReader(self.preprocessing) as picture:
            for batch in run_batches(
                photos,
                self.read_views if tta else lambda photo: self.prepare(picture(photo)),
                lambda t: t,
                predictions,
                size=size,
                parallel_batches=network.parallel_batches,
                all_cores_for_few=not network.even,
            ):
                yield from batch


def _first_lines(error: BaseException) -> str:
    """As much of it as one sentence takes: torch lists every key that does not fit."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
