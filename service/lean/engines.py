"""What a service asks of a classifier, and which one answers: on torch, or from an exported file without it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.service.artifact.prediction import Prediction
from handful.service.artifact.preprocessing import Preprocessing
from numpy.typing import NDArray

if TYPE_CHECKING:
    from handful.service.classifier import Classifier
    from handful.service.lean.classifier import OnnxClassifier


class ServedClassifier(Protocol):
    """`service.classifier.Classifier` and `service.lean.classifier.OnnxClassifier`."""

    card: ModelCard
    preprocessing: Preprocessing
    labels: tuple[str, ...]

    @property
    def engine_label(self) -> str: ...

    @property
    def batches_at_once(self) -> int | None: ...

    @property
    def batch(self) -> int: ...

    def limit_batch(self, images: int) -> None: ...

    def choose_fastest_for(self, images: int | None) -> None: ...

    def prepare(self, picture: NDArray[np.uint8]) -> Any: ...

    def answer(self, prepared: Sequence[Any], cores: int) -> list[Prediction]: ...


def is_lean(model: Path | None) -> bool:
    """Whether a process that answers from this model, or with None from those of the store, does without torch.

    `model` is an artifact's folder or an exported file.
    """
    return (model is not None and model.is_file()) or not is_torch_installed()


def is_torch_installed() -> bool:
    try:
        return all(map(find_spec, ("torch", "timm")))
    except ValueError:  # somebody has put None in its place
        return False


def classifier_of(path: Path) -> Classifier | OnnxClassifier:
    """Of an artifact's folder or of an exported file. Raises an `ArtifactError`, or whatever torch raises."""
    if is_lean(path):
        from handful.service.lean.classifier import OnnxClassifier

        return OnnxClassifier.load(path)
    from handful.service.classifier import Classifier

    return Classifier.load(path)
