"""What a service asks of a classifier, and which one answers: on torch, or from an exported file without it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from handful.service.artifact.card import ModelCard
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.prediction import Prediction
from handful.service.artifact.preprocessing import Preprocessing
from numpy.typing import NDArray

if TYPE_CHECKING:
    from handful.service.classifier import Classifier
    from handful.service.lean.classifier import OnnxClassifier
    from handful.service.lean.kept_classifier import KeptClassifier

logger = logging.getLogger(__name__)
MEASURE_SECONDS = 120.0  # ten are enough on a quiet machine


class ServedClassifier(Protocol):
    """`service.classifier.Classifier`, `service.lean`'s `OnnxClassifier` and `KeptClassifier`."""

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


def fastest_classifier(
    path: Path, images: int | None, *, even: bool = False
) -> Classifier | OnnxClassifier | KeptClassifier:
    """Of an artifact's folder or of an exported file, ready for so many images, or for as many as come (None).

    Where OpenVINO was measured to be the fastest, its network is kept, and from then on computed without torch. With
    `even`, for a classifier that will be made even, it need only be so for full batches. Raises as `classifier_of`
    does.
    """
    if is_lean(path):
        return classifier_of(path)
    from handful.service.lean.kept_classifier import KeptClassifier

    found = KeptClassifier.find(path, even=even)
    if found is not None:
        return found
    from handful.service.classifier import Classifier
    from handful.service.compute.kept import keep_network

    artifact = open_artifact(path)
    classifier = Classifier.from_artifact(artifact)
    classifier.choose_fastest_for(images)
    kept = keep_network(artifact, classifier.network)
    return (KeptClassifier.find(path, even=even) if kept else None) or classifier


def served_classifier(path: Path) -> Classifier | OnnxClassifier | KeptClassifier:
    """As `fastest_classifier(path, None)`, for a process that runs on: it imports torch only to answer with it."""
    needs_torch(path)
    return fastest_classifier(path, None)


def needs_torch(path: Path | None) -> bool:
    """Whether torch answers for this model. Where that is not known yet, a process that ends measures the engines.

    None: for a model that is not there yet; then what is likely. Raises an `ArtifactError`.
    """
    if is_lean(path):
        return False
    from handful.service.compute.kept import can_be_kept, is_fastest, is_measured, kept_of

    if not can_be_kept() or "torch" in sys.modules:
        return True
    if path is None:
        return False
    artifact = open_artifact(path)
    if not is_measured(kept_of(artifact)):
        _measure_elsewhere(path)
    kept = kept_of(artifact)
    return not (kept and kept.precisions and is_fastest(kept))


def _measure_elsewhere(path: Path) -> None:
    """In `handful.service.lean.__main__`. If that fails, this process does it itself and so sees why."""
    command = [sys.executable, "-m", "handful.service.lean", str(path)]
    try:
        subprocess.run(  # noqa: S603 - this interpreter, with a path of ours
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=MEASURE_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as e:
        logger.info("The engines of %s could not be measured in a process of their own (%s)", path, e)
