"""The call that explains an answer: one photo -> a picture of where the model looked."""

from __future__ import annotations

import numpy as np
from handful.service.decoding.decoders import Decoders
from handful.service.explain.process import Explainer
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.errors import NotReady
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import ExplainRefused, ModelTooLarge
from handful.service.http.one_image import ONE_IMAGE, ONE_IMAGE_ERRORS, OneImage
from handful.service.lean.classifier import OnnxClassifier
from handful.service.serving.champion import LoadedVersion
from handful.service.serving.served import ServedModels
from starlette.requests import Request
from starlette.responses import Response

SIDE = 900  # pixels of the longer side of the photo, as it is drawn
AT_ONCE = 8  # that wait or are drawn; each holds a picture of a few megabytes


class ExplainRoutes:
    """One per worker. One picture is drawn at a time: predictions come first."""

    def __init__(self, models: ServedModels, images: OneImage, decoders: Decoders, explainer: Explainer) -> None:
        self.models, self.images, self.decoders, self.explainer = models, images, decoders, explainer
        self._pictures = Capacity(AT_ONCE, "explanations")
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
                picture = await self.explainer.picture(served, seen, photo)
        return Response(picture, media_type="image/png")


def check_explains(served: LoadedVersion) -> None:
    """Raises `ExplainRefused` for a model that is answered from an exported file."""
    if isinstance(served.classifier, OnnxClassifier):
        raise ExplainRefused(
            f"{served.model} answers from an exported file here, which has no layers to look into; `handful explain`"
            " explains where torch is installed."
        )
