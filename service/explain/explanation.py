"""One photo -> the numbers and arrays that explain its answer; `picture.py` draws them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.errors import ImageError
from handful.service.artifact.preprocessing import Source
from handful.service.classifier import Classifier, Prediction
from handful.service.explain.activation import ActivationMap, activation_map
from handful.service.explain.stability import Stability, ViewAnswer, measure_stability
from handful.service.explain.stages import LayerOutputs, Stage, layer_outputs
from handful.service.explain.tokens import token_relevance
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Explanation:
    """One photo's answer and its reasons; `box` (left, top, right, bottom, in photo pixels) is what the network saw."""

    photo: Image.Image
    box: tuple[float, float, float, float]
    input: Image.Image  # S x S, the network's input
    labels: tuple[str, ...]
    prediction: Prediction
    label: int  # index of the most probable label, even if the answer is unknown
    map: ActivationMap
    outputs: LayerOutputs
    stability: Stability | None
    model: str


def explain_photo(classifier: Classifier, source: Source, *, shift: bool = False) -> Explanation:
    """`shift` also measures the stability. Raises an `ImageError` that names the file, or an `ArtifactError`."""
    preprocessing = classifier.preprocessing
    try:
        photo = preprocessing.read(source)
    except ImageError as e:
        raise type(e)(f"{source}: {e}" if isinstance(source, Path) else str(e)) from e
    pixels = preprocessing(photo)
    (prediction,) = classifier.predict(pixels[None])
    explanation = explain_pixels(classifier, photo, pixels, prediction, classifier.card.model)
    return replace(explanation, stability=measure_stability(classifier, photo)) if shift else explanation


def explain_pixels(
    classifier: Classifier, photo: Image.Image, pixels: Tensor, prediction: Prediction, model: str
) -> Explanation:
    """As `explain_photo`, of the answer for the network's input `(3, S, S)`.

    `photo`, which is drawn, may be smaller than it was.
    """
    preprocessing = classifier.preprocessing
    label = int(np.argmax(prediction.probabilities))
    outputs = layer_outputs(classifier.network, pixels)
    return Explanation(
        photo=photo,
        box=preprocessing.seen(photo.size),
        input=preprocessing.picture(pixels),
        labels=classifier.labels,
        prediction=prediction,
        label=label,
        map=_map(classifier, pixels, outputs, label),
        outputs=outputs,
        stability=None,
        model=model,
    )


def _map(classifier: Classifier, pixels: Tensor, outputs: LayerOutputs, label: int) -> ActivationMap:
    if outputs.grid is not None:
        return token_relevance(classifier.network, pixels, outputs.grid, label)
    return activation_map(classifier.network, outputs.features, label)


def explanation_result(explanation: Explanation) -> dict[str, Any]:
    """The command's result, without the path of the picture."""
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
        "receptive_fields": [_field(stage) for stage in explanation.outputs.stages],
        **({"shift": _shift(explanation.stability)} if explanation.stability else {}),
    }


def _field(stage: Stage) -> dict[str, Any]:
    """`pixels` and `stride_pixels` are null if no receptive field is known."""
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
        "lowest": _view_answer(stability.lowest),
        "kinds": {kind: part.numbers() for kind, part in kinds.items()},
        "answers": [_view_answer(each) for each in stability.changed],
    }


def _view_answer(each: ViewAnswer) -> dict[str, Any]:
    return {
        "kind": each.view.kind,
        "amount": each.view.amount,
        "where": each.view.where or None,
        "probability": each.probability,
        "same_label": each.same_label,
        "unknown": each.unknown,
    }
