"""One photo -> one picture that says why: the answer, where it came from, what the layers see."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.classifier import Classifier, Prediction
from handful.service.explain.activation import ActivationMap, activation_map
from handful.service.explain.stability import Answered, Stability, measure
from handful.service.explain.stages import Seen, Stage, look
from PIL import Image


@dataclass(frozen=True)
class Explanation:
    """What is known of one photo; `box` is left, top, right, bottom of what the network saw, in the photo's pixels."""

    photo: Image.Image
    box: tuple[float, float, float, float]
    input: Image.Image  # S x S, what the network saw
    labels: tuple[str, ...]
    prediction: Prediction
    label: int  # the likeliest, also where the answer is unknown
    map: ActivationMap
    seen: Seen
    stability: Stability | None
    model: str


def check_out(out: Path) -> None:
    """Before any work: raises `UsageError` where no PNG can be written."""
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out ends in {out.suffix or 'nothing'!r}; .png is allowed.")
    if not out.parent.is_dir() or out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out} cannot be written there; a file in a folder that exists is expected.")


def explain_image(classifier: Classifier, image: Path, out: Path, *, shift: bool = False) -> dict[str, Any]:
    """Writes the picture and returns the numbers; raises an `ImageError` that names the file, and `UsageError`."""
    from handful.service.explain.picture import draw  # brings matplotlib

    check_out(out)
    explanation = explain(classifier, image, shift=shift)
    part = out.with_name(out.name + ".writing")
    part.write_bytes(draw(explanation))
    part.replace(out)
    return {**numbers(explanation), "out": str(out)}


def explain(classifier: Classifier, image: Path, *, shift: bool = False) -> Explanation:
    preprocessing = classifier.preprocessing
    try:
        photo = preprocessing.read(image)
    except ImageError as e:
        raise type(e)(f"{image}: {e}") from e
    pixels = preprocessing(photo)
    prediction = classifier.predict(pixels[None])[0]
    label = int(np.argmax(prediction.probabilities))
    seen = look(classifier.network, pixels)
    return Explanation(
        photo=photo,
        box=preprocessing.seen(photo.size),
        input=preprocessing.pixels(photo),
        labels=classifier.labels,
        prediction=prediction,
        label=label,
        map=activation_map(classifier.network, seen.features, label),
        seen=seen,
        stability=measure(classifier, photo) if shift else None,
        model=classifier.card.model,
    )


def numbers(explanation: Explanation) -> dict[str, Any]:
    """What `--json` prints, but for the file's name."""
    prediction = explanation.prediction
    ranked = sorted(zip(explanation.labels, prediction.probabilities, strict=True), key=lambda pair: -pair[1])
    return {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "unknown": prediction.unknown,
        "model": explanation.model,
        "predictions": [{"label": label, "probability": probability} for label, probability in ranked],
        "map": {
            "kind": explanation.map.kind,
            "label": explanation.labels[explanation.label],
            "logit": explanation.map.logit,
            "size": list(explanation.map.values.shape),
        },
        "receptive_fields": [_field(stage) for stage in explanation.seen.stages],
        **({"shift": _shift(explanation.stability)} if explanation.stability else {}),
    }


def _field(stage: Stage) -> dict[str, Any]:
    """`pixels` and `stride_pixels` are null where a point may depend on the whole photo."""
    channels, height, width = stage.maps.shape
    window = stage.window
    return {
        "stage": stage.name,
        "pixels": window.pixels if window else None,
        "stride_pixels": window.stride_pixels if window else None,
        "channels": channels,
        "size": [height, width],
    }


def _shift(stability: Stability) -> dict[str, Any]:
    kinds = {
        "shift": stability.of("shift across", "shift down"),
        "scale": stability.of("scale"),
        "crop": stability.of("crop"),
        "mirror": stability.of("mirror"),
    }
    return {
        **stability.numbers(),
        "lowest": _answered(stability.lowest),
        "kinds": {kind: part.numbers() for kind, part in kinds.items()},
        "answers": [_answered(each) for each in stability.changed],
    }


def _answered(each: Answered) -> dict[str, Any]:
    return {
        "kind": each.view.kind,
        "amount": each.view.amount,
        "where": each.view.where or None,
        "probability": each.probability,
        "same_label": each.same_label,
        "unknown": each.unknown,
    }
