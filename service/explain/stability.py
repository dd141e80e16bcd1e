"""The stability of an answer: predictions for the same photo shifted, resized, cropped and mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from handful.service.artifact.preprocessing import Preprocessing, stacked
from handful.service.classifier import Classifier, Prediction
from handful.service.terminal.progress import CHANGED_COPIES, progress_bar
from PIL import Image

Kind = Literal["shift across", "shift down", "scale", "crop", "mirror"]

SHIFT_STEPS = 8  # each way, up to a quarter of the input's side
SCALE_STEPS = 4  # each way, up to half and twice the size
CROP_SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
BATCH = 8  # views, so that a bar can move
CROP_PLACES = {
    "middle": (0.5, 0.5), "top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1), "bottom right": (1, 1),
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """One changed photo, as the network sees it."""

    kind: Kind
    amount: float  # shift: input pixels; scale: factor; crop: share of each side that is kept; mirror: 1
    where: str  # the place of a crop; else empty
    pixels: Image.Image  # S x S

    @property
    def is_changed(self) -> bool:
        """False for the unchanged photo, which each curve contains but no count."""
        return not (self.kind.startswith("shift") and self.amount == 0) and not (
            self.kind == "scale" and self.amount == 1
        )


@dataclass(frozen=True)
class ViewAnswer:
    """The prediction for one view, compared with that for the unchanged photo."""

    view: View
    probability: float  # of the label that is most probable for the unchanged photo
    same_label: bool
    unknown: bool


@dataclass(frozen=True)
class Stability:
    """The answers for all views; `changed` leaves out the unchanged photo."""

    answers: tuple[ViewAnswer, ...]

    @property
    def changed(self) -> tuple[ViewAnswer, ...]:
        return tuple(each for each in self.answers if each.view.is_changed)

    @property
    def lowest(self) -> ViewAnswer:
        return min(self.changed, key=lambda each: each.probability)

    def of(self, *kinds: Kind) -> Stability:
        return Stability(tuple(each for each in self.answers if each.view.kind in kinds))

    def numbers(self) -> dict[str, float | int]:
        """Counts and shares of the changed photos."""
        changed = self.changed
        return {
            "photos": len(changed),
            "same_label_share": sum(each.same_label for each in changed) / len(changed),
            "unknown_share": sum(each.unknown for each in changed) / len(changed),
            "lowest_probability": self.lowest.probability,
        }


def measure_stability(classifier: Classifier, image: Image.Image) -> Stability:
    """Predicts each view of the upright RGB image."""
    all_views = list(views(classifier.preprocessing, image))
    original = classifier.predict(classifier.preprocessing(image)[None])[0]
    label = int(np.argmax(original.probabilities))
    answers: list[ViewAnswer] = []
    with progress_bar(CHANGED_COPIES, len(all_views)) as progress:
        for start in range(0, len(all_views), BATCH):
            batch = all_views[start : start + BATCH]
            pixels = stacked([classifier.preprocessing.normalised(view.pixels) for view in batch])
            answers += _view_answers(batch, classifier.predict(pixels), label)
            progress(len(batch))
    return Stability(tuple(answers))


def _view_answers(batch: Sequence[View], predictions: Sequence[Prediction], label: int) -> list[ViewAnswer]:
    return [
        ViewAnswer(view, p.probabilities[label], int(np.argmax(p.probabilities)) == label, p.unknown)
        for view, p in zip(batch, predictions, strict=True)
    ]


def views(preprocessing: Preprocessing, image: Image.Image) -> Iterator[View]:
    """All views; beyond the photo's border its outermost pixels are repeated."""
    side = preprocessing.side_pixels
    resized = preprocessing.resized(image)
    for step in range(-SHIFT_STEPS, SHIFT_STEPS + 1):
        pixels = round(step * side / 4 / SHIFT_STEPS)
        yield View("shift across", pixels, "", _window(resized, side, across=pixels))
        yield View("shift down", pixels, "", _window(resized, side, down=pixels))
    for step in range(-SCALE_STEPS, SCALE_STEPS + 1):
        factor = 2 ** (step / SCALE_STEPS)
        scaled = preprocessing.resized(image, max(1, round(min(resized.size) * factor)))
        yield View("scale", factor, "", _window(scaled, side))
    for share in CROP_SHARES:
        for where, place in CROP_PLACES.items():
            yield View("crop", share, where, preprocessing.pixels(_cropped(image, share, place)))
    yield View("mirror", 1, "", preprocessing.pixels(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def _window(resized: Image.Image, side: int, *, across: int = 0, down: int = 0) -> Image.Image:
    """The central `side x side` pixels after the image was moved right and down by so many pixels."""
    array = np.asarray(resized)
    rows, columns = (
        np.clip(round((length - side) / 2) - moved + np.arange(side), 0, length - 1)
        for length, moved in zip(array.shape, (down, across), strict=False)
    )
    return Image.fromarray(array[rows][:, columns])


def _cropped(image: Image.Image, share: float, place: tuple[float, float]) -> Image.Image:
    width, height = (max(1, round(n * share)) for n in image.size)
    left, top = (round((n - kept) * p) for n, kept, p in zip(image.size, (width, height), place, strict=True))
    return image.crop((left, top, left + width, top + height))
