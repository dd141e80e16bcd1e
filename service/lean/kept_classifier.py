"""The classifier of an artifact whose network is kept for OpenVINO: the calls of `service.classifier.Classifier`.

Its answers are the same to the last bit as those of the engine `openvino` there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TypeVar

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.artifact.folder import EMBEDDINGS, WEIGHTS, Artifact, open_artifact
from handful.service.artifact.label_names import in_one_form
from handful.service.artifact.prediction import Prediction, predictions_of
from handful.service.artifact.preprocessing import Preprocessing, Source
from handful.service.artifact.unknown import UnknownDetector
from handful.service.compute.device import CPU_BATCH, MOST_PARALLEL_BATCHES, SMALL_BATCH, cpu_count
from handful.service.compute.frozen_head import FrozenHead, Layers
from handful.service.compute.kept import can_be_kept, is_fastest, kept_folder, kept_network, read_models
from handful.service.compute.openvino_models import OpenVinoModels
from handful.service.compute.pipeline import Batch, run_batches
from handful.service.compute.timings import WHY, Rates, Workload, rates_text
from handful.service.compute.weights import arrays, head_prefix
from handful.service.decoding.reader import PictureReader
from numpy.typing import NDArray
from safetensors import SafetensorError

logger = logging.getLogger(__name__)
S = TypeVar("S", bound=Source)


class KeptClassifier:
    """One version, ready to predict, without torch; safe to share between threads."""

    def __init__(self, artifact: Artifact, models: OpenVinoModels, timed: Mapping[Workload, Rates]) -> None:
        """Raises whatever a head that does not fit raises: then the network on torch says what is wrong."""
        self.card: ModelCard = artifact.card
        self.labels = in_one_form(artifact.card.labels)
        self.preprocessing = Preprocessing.from_pretrained_cfg(artifact.config["pretrained_cfg"])
        parts = arrays(artifact.path / EMBEDDINGS, "unknown.")
        described = {f"unknown.{name}": array for name, array in parts.items()}
        self.unknown = UnknownDetector.from_parts(described, artifact.card.unknown.model_dump())
        self.head = FrozenHead(_layers(artifact, models.width), artifact.card.temperature)
        self.models, self.timed = models, timed
        self.batch, self.parallel_batches = CPU_BATCH, min(cpu_count(), MOST_PARALLEL_BATCHES)
        self._smallest = 1  # images that are computed at once; fewer are padded
        self._even = False

    @classmethod
    def find(cls, path: Path, *, even: bool = False) -> KeptClassifier | None:
        """Of an artifact's folder; None where OpenVINO is not known to be the fastest, or the network is not kept.

        With `even`, for one that will be made even, it need only be so for full batches.

        Raises an `ArtifactError` if the artifact is incomplete or inconsistent.
        """
        if not can_be_kept():
            return None
        artifact = open_artifact(path)
        try:
            folder = kept_folder(artifact)
            kept = kept_network(folder)
            models = read_models(folder, kept) if kept and is_fastest(kept, even=even) else None
            return cls(artifact, models, kept.timed()) if kept and models else None
        except (ArithmeticError, LookupError, PackageNotFoundError, SafetensorError, TypeError, ValueError) as e:
            logger.info("%s is computed on torch (%s)", artifact.card.model, e)
            return None

    @property
    def engine_label(self) -> str:
        return f"openvino-{'bf16' if self.models.low_precision else 'fp32'}"

    @property
    def engine_text(self) -> str:
        """The engines that are used, why, and what was timed, for a person."""
        lines = [f"{self.engine_label} on cpu: {WHY}", f"for up to {SMALL_BATCH} images: {self.engine_label}"]
        return "\n".join([*lines, *rates_text(self.timed)])

    def choose_fastest_for(self, images: int | None) -> None:
        """For the calls of `Classifier`: the engine is chosen when the network is found."""

    @property
    def batches_at_once(self) -> int | None:
        return self.parallel_batches

    def limit_batch(self, images: int) -> None:
        self.batch = min(images, self.batch)

    def make_even(self) -> None:
        """From now on every batch has one size: no answer depends on the other images in it."""
        self._smallest, self._even = self.batch, True

    def read(self, source: Source) -> NDArray[np.float32]:
        """One image -> `(S, S, 3)` float32; raises an `ImageError`."""
        preprocessing = self.preprocessing
        return preprocessing.values(preprocessing.pixels(preprocessing.read(source)))

    def prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The `(S, S, 3)` picture that the network sees -> the same as numbers."""
        return self.preprocessing.values(picture)

    def answer(self, prepared: Sequence[NDArray[np.float32]], cores: int) -> list[Prediction]:  # noqa: ARG002 - its own
        """What `prepare` made of N pictures -> N predictions; OpenVINO has its own threads."""
        return self.predict(np.stack(prepared))

    def predict(self, pixels: NDArray[np.float32]) -> list[Prediction]:
        """`(N, S, S, 3)` float32 -> N predictions."""
        batches = (pixels[start : start + self.batch] for start in range(0, len(pixels), self.batch))
        embeddings = np.concatenate([self._embed(batch) for batch in batches])
        return predictions_of(self.labels, self.head.probabilities(embeddings), embeddings, self.unknown)

    def _embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Padded as `Network.embed` does, so that the result is the same."""
        count = len(pixels)
        missing = max(self._smallest, 1 << (count - 1).bit_length()) - count
        if missing:
            pixels = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), np.float32)])
        return self.models(pixels)[:count]

    def classify(self, photos: Iterable[S], *, tta: bool = False) -> Iterator[tuple[S, Prediction | ImageError]]:
        """Yields each photo once, in order, with its prediction or its error; memory does not grow with the photos.

        `UsageError` for `tta`, which is for the classifier on torch.
        """
        if tta:
            raise UsageError("Without torch one view of a photo is looked at; --tta needs torch.")

        def predictions(batch: Batch[S, NDArray[np.float32]]) -> list[tuple[S, Prediction | ImageError]]:
            pixels = [each for each in batch.read if not isinstance(each, ImageError)]
            rows = iter(self.predict(np.stack(pixels)) if pixels else ())
            results = [each if isinstance(each, ImageError) else next(rows) for each in batch.read]
            return list(zip(batch.sources, results, strict=True))

        with PictureReader(self.preprocessing) as picture:
            for batch in run_batches(
                photos,
                lambda photo: self.prepare(picture(photo)),
                None,
                predictions,
                size=self.batch,
                parallel_batches=self.parallel_batches,
                all_cores_for_few=not self._even,
            ):
                yield from batch


def _layers(artifact: Artifact, width: int) -> Layers:
    """Of the head. Raises ValueError where it does not fit the network or the labels."""
    kind = artifact.card.head.kind
    tensors = arrays(artifact.path / WEIGHTS, head_prefix(artifact.config, kind))
    names = [""] if kind == "linear" else ["hidden.", ""]
    layers = [
        (tensors[f"{name}weight"].astype(np.float64), tensors[f"{name}bias"].astype(np.float64)) for name in names
    ]
    for weight, bias in layers:
        if weight.ndim != 2 or weight.shape != (len(bias), width):
            raise ValueError(f"a layer of the head has the shape {weight.shape}")
        width = len(bias)
    if width != len(artifact.card.labels):
        raise ValueError(f"the head has {width} outputs")
    return layers
