"""Whether an exported file answers as the model does: the same photos, both ways, before the file may be kept."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from handful.service.artifact.errors import ImageError
from handful.service.artifact.prediction import Prediction
from handful.service.artifact.preprocessing import Source, stacked
from handful.service.classifier import Classifier
from handful.service.lean.classifier import OnnxClassifier
from PIL import Image

if TYPE_CHECKING:  # it needs the extra `onnx`, and `handful evaluate` must not
    from handful.service.export.precision import Precision

MOST_DIFFERENCE = 1e-3  # of a probability
MOST_CHANGED = 0.01  # 8-bit weights may change this share of the answers, or one answer, whichever is more
SIZES = ((28, 28), (225, 300), (640, 427), (301, 811), (1200, 1601), (120, 1100), (2400, 1800))  # generated photos


@dataclass(frozen=True)
class Agreement:
    """Of two ways to answer the same photos."""

    photos: int
    changed: tuple[str, ...]  # the photos with another label
    largest_difference: float  # of a probability

    @property
    def result(self) -> dict[str, Any]:
        return {
            "photos": self.photos,
            "labels_changed": len(self.changed),
            "largest_difference": self.largest_difference,
        }

    def holds(self, precision: Precision) -> bool:
        if precision == "int8":
            return len(self.changed) <= max(1, MOST_CHANGED * self.photos)
        return not self.changed and self.largest_difference <= MOST_DIFFERENCE

    def __str__(self) -> str:
        named = f" ({self.changed[0]}{' and others' if len(self.changed) > 1 else ''})" if self.changed else ""
        return (
            f"on {self.photos} photos {len(self.changed)} labels differ{named}, and probabilities by up to"
            f" {self.largest_difference:.2g}"
        )


def check_file(
    exported: OnnxClassifier, classifier: Classifier, photos: Iterable[tuple[str, Source]]
) -> tuple[Agreement, Agreement]:
    """The file's answers and the model's in float32; and the same for the model as it is computed on this machine.

    The file gets each photo whole, and once more as `OnnxClassifier` resizes it. Photos that cannot be read are left
    out.
    """
    file, here = _Comparison(), _Comparison()
    for name, source in photos:
        try:
            image = classifier.preprocessing.read(source)
        except ImageError:
            continue
        pixels = stacked([classifier.preprocessing(image)])
        usual = classifier.network.embed(pixels)
        exact = classifier.network.embed_float32(pixels)
        (expected,), (computed,) = map(classifier.predict_embeddings, (exact, usual))
        whole, resized = np.asarray(image)[None], exported.read(image)[None]
        (first,), (second,) = exported.predict(whole), exported.predict(resized)
        file.add(name, expected, first, second)
        here.add(name, computed, first)
    return file.agreement, here.agreement


class _Comparison:
    def __init__(self) -> None:
        self.photos, self.changed, self.largest = 0, list[str](), 0.0

    def add(self, name: str, expected: Prediction, *others: Prediction) -> None:
        self.photos += 1
        if any(each.label != expected.label for each in others):
            self.changed.append(name)
        difference = np.abs(np.array([each.probabilities for each in others]) - np.array(expected.probabilities)).max()
        self.largest = max(self.largest, float(difference) if np.isfinite(difference) else float("inf"))

    @property
    def agreement(self) -> Agreement:
        return Agreement(self.photos, tuple(self.changed), self.largest)


def generated_photos() -> Iterator[tuple[str, Source]]:
    """JPEGs of many sizes, of soft spots and of noise; the same each time."""
    random = np.random.default_rng(0)
    for height, width in SIZES:
        for blocks in (4, max(height, width)):
            coarse = (max(1, min(height, height * blocks // max(height, width))), min(width, blocks), 3)
            spots = Image.fromarray(random.integers(0, 256, coarse, dtype=np.uint8))
            file = io.BytesIO()
            spots.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            yield f"a generated photo of {width} × {height} pixels", file.getvalue()
