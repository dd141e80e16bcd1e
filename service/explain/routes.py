"""The call that explains an answer: one photo -> a picture of where the model looked."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from handful.service.artifact.errors import ArtifactError, ImageError
from handful.service.http.body import (
    BODY_ERRORS,
    IMAGE_ERRORS,
    OVERHEAD_BYTES,
    off_loop,
    read_body,
    single_image,
    single_image_megabytes,
)
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.errors import JsonBroken, NotReady, status_of
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import ExplainRefused, ModelTooLarge
from handful.service.http.schemas import error_body
from handful.service.serving.champion import LoadedVersion
from handful.service.serving.predictor import Predictor
from handful.service.serving.routes import ONE_IMAGE
from handful.service.serving.served import ServedModels
from handful.service.settings import Settings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from torch import Tensor

SIDE = 900  # pixels of the longer side of the photo, as it is drawn
AT_ONCE = 8  # that wait or are drawn; each holds a picture of a few megabytes


class ExplainRoutes:
    """One per worker. One picture is drawn at a time, on one core: predictions come first."""

    def __init__(self, settings: Settings, models: ServedModels, predictor: Predictor, bodies: Capacity) -> None:
        self.settings, self.models, self.predictor, self.bodies = settings, models, predictor, bodies
        self._thread = ThreadPoolExecutor(1, "explain", initializer=partial(torch.set_num_threads, 1))
        self._pictures = Capacity(AT_ONCE, "explanations")
        self.endpoints = (
            Endpoint(
                "POST",
                "/models/{name}/explain",
                self.explain,
                "Where the model looked in one image, and how sure it is, as a picture.",
                answers={200: Answer("A PNG", bytes, "image/png")},
                errors=(*BODY_ERRORS, *IMAGE_ERRORS, JsonBroken, NotReady, ModelUnknown, ModelTooLarge, ExplainRefused),
                content=ONE_IMAGE,
            ),
        )

    async def explain(self, request: Request) -> Response:
        name, kind = request.path_params["name"], request.headers.get("content-type", "")
        await self.models.check(name)
        limit = int(single_image_megabytes(kind, self.settings.max_image_megabytes) * 1e6) + OVERHEAD_BYTES
        decoders = self.predictor.decoders
        with self.bodies.reserve() as reservation, self._pictures.reserve(1):
            seconds = self.settings.body_seconds
            body = await read_body(request.headers, request.receive, limit, seconds, reservation)
            async with self.predictor.admission.admit(1):
                image = await off_loop(partial(single_image, kind, body), len(body))
                served = await self.models.version(name)
                try:
                    photo = await decoders.thumbnail(image, SIDE)
                    pixels = await decoders.pixels(image, served.classifier.preprocessing)
                except ImageError as e:
                    return JSONResponse(error_body(e.code, str(e)), status_of(type(e)))
                loop = asyncio.get_running_loop()
                picture = await loop.run_in_executor(self._thread, draw, served, photo, pixels)
        return Response(picture, media_type="image/png")


def draw(served: LoadedVersion, photo: bytes, pixels: Tensor) -> bytes:
    """The top row of what `handful explain` draws, as a PNG. Raises `ExplainRefused`."""
    from handful.service.explain.explanation import explain_pixels, with_own_layers
    from handful.service.explain.picture import draw_explanation  # imports matplotlib, half a second

    classifier = with_own_layers(served.classifier)
    try:
        explanation = explain_pixels(classifier, classifier.preprocessing.read(photo), pixels, served.model)
    except ArtifactError as e:
        raise ExplainRefused(str(e)) from e
    return draw_explanation(explanation, short=True)
