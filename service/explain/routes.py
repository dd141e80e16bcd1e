"""The call that explains an answer: one photo -> a picture of where the model looked."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from handful.service.artifact.errors import ArtifactError
from handful.service.decoding.decoders import Decoders
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.errors import NotReady
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import ExplainRefused, ModelTooLarge
from handful.service.http.one_image import ONE_IMAGE, ONE_IMAGE_ERRORS, OneImage
from handful.service.lean.classifier import OnnxClassifier
from handful.service.lean.kept_classifier import KeptClassifier
from handful.service.serving.champion import LoadedVersion
from handful.service.serving.served import ServedModels
from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from handful.service.classifier import Classifier
    from numpy.typing import NDArray

SIDE = 900  # pixels of the longer side of the photo, as it is drawn
AT_ONCE = 8  # that wait or are drawn; each holds a picture of a few megabytes


class ExplainRoutes:
    """One per worker. One picture is drawn at a time, on one core: predictions come first."""

    def __init__(self, models: ServedModels, images: OneImage, decoders: Decoders) -> None:
        self.models, self.images, self.decoders = models, images, decoders
        self._thread = ThreadPoolExecutor(1, "explain", initializer=_on_one_core)
        self._pictures = Capacity(AT_ONCE, "explanations")
        self._on_torch: tuple[Path, Classifier] | None = None  # the version that was explained last
        self.endpoints = (
            Endpoint(
                "POST",
                "/models/{name}/explain",
                self.explain,
                "Where the model looked in one image, and how sure it is, as a picture.",
                answers={200: Answer("A PNG", bytes, "image/png")},
                errors=(*ONE_IMAGE_ERRORS, NotReady, ModelUnknown, ModelTooLarge, ExplainRefused),
                content=ONE_IMAGE,
            ),
        )

    async def explain(self, request: Request) -> Response:
        name = request.path_params["name"]
        await self.models.check(name)
        with self._pictures.reserve(1):
            async with self.images.of(request) as image:
                served = await self.models.version(name)
                check_explains(served)
                photo = await self.decoders.thumbnail(image, SIDE)
                seen = await self.decoders.pixels(image, served.classifier.preprocessing, np.array)
                loop = asyncio.get_running_loop()
                picture = await loop.run_in_executor(self._thread, self._draw, served, photo, seen)
        return Response(picture, media_type="image/png")

    def _draw(self, served: LoadedVersion, photo: bytes, seen: NDArray[np.uint8]) -> bytes:
        """In the one thread. A network that is kept for OpenVINO has no layers to look into: it is loaded on torch."""
        if not isinstance(served.classifier, KeptClassifier):
            return draw(cast("Classifier", served.classifier), served.model, photo, seen)
        if self._on_torch is None or self._on_torch[0] != served.path:
            self._on_torch = served.path, on_torch(served.path)
        return draw(self._on_torch[1], served.model, photo, seen)


def _on_one_core() -> None:
    import torch

    torch.set_num_threads(1)


def check_explains(served: LoadedVersion) -> None:
    """Raises `ExplainRefused` for a model that is answered from an exported file."""
    if isinstance(served.classifier, OnnxClassifier):
        raise ExplainRefused(
            f"{served.model} answers from an exported file here, which has no layers to look into; `handful explain`"
            " explains where torch is installed."
        )


def on_torch(path: Path) -> Classifier:
    """With the engines that answer."""
    from handful.service.classifier import Classifier

    classifier = Classifier.load(path)
    classifier.choose_fastest_for(None)
    return classifier


def draw(shared: Classifier, model: str, photo: bytes, seen: NDArray[np.uint8]) -> bytes:
    """The picture of `handful explain --short`, as a PNG. Raises `ExplainRefused` where a network has none.

    `seen` is the `(S, S, 3)` picture that the network sees.
    """
    from handful.service.explain.explanation import explain_pixels, with_own_layers
    from handful.service.explain.picture import draw_explanation  # imports matplotlib, half a second

    classifier = with_own_layers(shared)
    try:
        explanation = explain_pixels(classifier, classifier.preprocessing.read(photo), classifier.prepare(seen), model)
    except ArtifactError as e:
        raise ExplainRefused(str(e)) from e
    return draw_explanation(explanation, short=True)
