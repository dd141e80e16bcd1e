"""Whether 8-bit integers change what a version answers: tried on its training photos, kept only if they do not.

The network in its own precision and the one in integers answer to each photo with a head that had not seen it, and
with the same threshold for *unknown*. Speed is not measured: it depends on the machine that serves.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from handful.service.artifact.card import Int8Card
from handful.service.artifact.errors import ImageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.engine import int8
from handful.service.compute.int8 import calibrate
from handful.service.compute.pipeline import read_batches
from handful.training.backbone import Backbone
from handful.training.head.calibration import calibrated
from handful.training.head.fit import Fitted
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.metrics import Probabilities, expected_calibration_error, log_loss
from handful.training.photos.inspection import Inspected
from torch import Tensor

BATCH = 32
CALIBRATED_ON = 256  # photos; more hardly widen the ranges
COMPARED_ON = 1024  # photos
MOST_CHANGED = 0.01  # share of the answers; one answer may always change
MOST_LOSS = 0.01  # nats of log loss, and of calibration error


@dataclass(frozen=True)
class Int8Trial:
    """`card` is None where integers are not kept."""

    card: Int8Card | None
    reason: str

    @property
    def result(self) -> dict[str, Any]:
        """What the command prints."""
        numbers = self.card.model_dump(mode="json", exclude={"ranges"}) if self.card else {}
        return {"kept": self.card is not None, "reason": self.reason, **numbers}


def try_int8(
    backbone: Backbone, preprocessing: Preprocessing, inspected: Inspected, fitted: Fitted, seed: int
) -> Int8Trial:
    """Calibrates the ranges on the photos and compares on them; reads their files again."""
    network = copy.deepcopy(backbone.network).cpu()
    rows = _evenly_spaced(len(inspected.images), COMPARED_ON)
    ranges = calibrate(network, _pixels(preprocessing, inspected, rows[_evenly_spaced(len(rows), CALIBRATED_ON)]))
    if ranges is None:
        return Int8Trial(None, "the network is not a chain of convolutions that hand integers to one another")
    engine = int8(network, ranges)
    with torch.inference_mode():
        embedded = torch.cat([engine.run(batch) for batch in _pixels(preprocessing, inspected, rows)]).numpy()
    plain, small = _answers(embedded, rows, inspected, fitted, seed)
    known = inspected.label_index[rows]
    card = Int8Card(
        ranges=ranges,
        images=len(rows),
        answers_changed=float((plain.label != small.label).mean()),
        log_loss_change=log_loss(small.probabilities, known) - log_loss(plain.probabilities, known),
        ece_change=expected_calibration_error(small.probabilities, known)
        - expected_calibration_error(plain.probabilities, known),
    )
    return Int8Trial(card if _harmless(card) else None, _reason(card))


@dataclass(frozen=True)
class _Int8Answers:
    probabilities: Probabilities  # (M, L)
    refused: np.ndarray  # (M,) bool

    @property
    def label(self) -> np.ndarray:
        """(M,) the label's number, or -1 for *unknown*."""
        return np.where(self.refused, -1, self.probabilities.argmax(axis=1))


def _answers(
    embedded: np.ndarray, rows: np.ndarray, inspected: Inspected, fitted: Fitted, seed: int
) -> list[_Int8Answers]:
    """To the M photos in `rows`: with the embeddings that were kept, and with the new ones (M, D)."""
    data, fold = LabelledEmbeddings.of(inspected), fitted.folds.numbers[:, 0]
    both = (data.embeddings[rows], embedded)
    logits = np.empty((2, len(rows), data.label_count))
    for number in np.unique(fold[rows]):
        tested = fold[rows] == number
        head = fitted.head.refit(data.take(np.flatnonzero(fold != number)), seed)
        for side, embeddings in zip(logits, both, strict=True):
            side[tested] = head.logits(embeddings[tested])
    return [
        _Int8Answers(calibrated(side, fitted.temperature), fitted.unknown.is_unknown(embeddings))
        for side, embeddings in zip(logits, both, strict=True)
    ]


def _pixels(preprocessing: Preprocessing, inspected: Inspected, rows: np.ndarray) -> Iterator[Tensor]:
    paths = [inspected.images[row].path for row in rows]
    for batch in read_batches(paths, lambda path: preprocessing(preprocessing.read(path)), lambda p: p, size=BATCH):
        for failed in (read for read in batch.read if isinstance(read, ImageError)):
            raise failed  # it could be read when it was embedded
        if batch.pixels is not None:
            yield batch.pixels.contiguous(memory_format=torch.channels_last)


def _evenly_spaced(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` rows, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp))


def _harmless(card: Int8Card) -> bool:
    changed = round(card.answers_changed * card.images)
    return changed <= max(1, MOST_CHANGED * card.images) and max(card.log_loss_change, card.ece_change) <= MOST_LOSS


def _reason(card: Int8Card) -> str:
    return (
        f"of {card.images} photos {round(card.answers_changed * card.images)} got another answer, the log loss changed"
        f" by {card.log_loss_change:+.4f} and the calibration error by {card.ece_change:+.4f}"
        f" (allowed: {MOST_CHANGED:.0%} of the answers or one, {MOST_LOSS:+.2f} and {MOST_LOSS:+.2f})"
    )
