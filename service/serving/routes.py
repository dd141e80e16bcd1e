"""The calls that a served model answers: predictions for one image or many, its card, and whether it is ready.

Without a model's name in their path they are those of the default model.
"""

from __future__ import annotations

from functools import partial

from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ImageError
from handful.service.artifact.prediction import Prediction
from handful.service.http.body import (
    BODY_ERRORS,
    IMAGE_ERRORS,
    OVERHEAD_BYTES,
    multipart_images,
    off_loop,
    read_body,
)
from handful.service.http.endpoint import FILE, Answer, Endpoint, Schema, form
from handful.service.http.errors import AnyError, JsonBroken, NotReady, status_of
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import ModelTooLarge
from handful.service.http.one_image import ONE_IMAGE, OneImage
from handful.service.http.schemas import ErrorBody, PredictionBody, error_body
from handful.service.serving.champion import LoadedVersion
from handful.service.serving.predictor import Predictor
from handful.service.serving.served import ServedModels
from handful.service.settings import Settings
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response


class ServingRoutes:
    """One per worker."""

    def __init__(self, settings: Settings, models: ServedModels, predictor: Predictor, images: OneImage) -> None:
        self.settings, self.models, self.predictor, self.images = settings, models, predictor, images
        one = f"One image of at most {settings.max_image_megabytes:g} MB and {settings.max_megapixels:g} megapixels."
        many = f"At most {settings.max_images} images, {settings.max_request_megabytes:g} MB together; one answer each."
        files = {"type": "array", "items": FILE, "minItems": 1, "maxItems": settings.max_images}
        self.endpoints = (
            *self._of_model("", one, many, files, (NotReady,)),
            *self._of_model("/models/{name}", one, many, files, (NotReady, ModelUnknown, ModelTooLarge)),
            Endpoint(
                "GET",
                "/readyz",
                self.readyz,
                "A model is loaded, and images can be decoded.",
                answers={200: Answer("NAME:VERSION of the model", str, "text/plain")},
                errors=(NotReady,),
            ),
        )

    def _of_model(
        self, prefix: str, one: str, many: str, files: Schema, missing: tuple[AnyError, ...]
    ) -> tuple[Endpoint, ...]:
        errors = (*BODY_ERRORS, *IMAGE_ERRORS, *missing)
        return (
            Endpoint(
                "POST",
                f"{prefix}/predict",
                self.predict,
                one,
                answers={200: Answer("The prediction", PredictionBody)},
                errors=(*errors, JsonBroken),
                content=ONE_IMAGE,
            ),
            Endpoint(
                "POST",
                f"{prefix}/predict_many",
                self.predict_many,
                many,
                answers={200: Answer("In the order of the images", list[PredictionBody | ErrorBody])},
                errors=errors,
                content=form({"images": files}),
            ),
            Endpoint(
                "GET",
                f"{prefix}/model",
                self.model,
                "The served model's card.",
                answers={200: Answer("The card", ModelCard)},
                errors=missing,
            ),
        )

    async def predict(self, request: Request) -> Response:
        name = await self._name(request)
        async with self.images.of(request) as image:
            served, (result,) = await self.predictor.answer([image], name)
        status = status_of(type(result)) if isinstance(result, ImageError) else 200
        return JSONResponse(answer_body(served, result), status)

    async def predict_many(self, request: Request) -> Response:
        name, max_images = await self._name(request), self.settings.max_images
        limit_bytes = int(self.settings.max_request_megabytes * 1e6) + max_images * OVERHEAD_BYTES
        with self.images.bodies.reserve() as reservation:
            seconds = self.settings.body_seconds
            body = await read_body(request.headers, request.receive, limit_bytes, seconds, reservation)
            content_type = request.headers.get("content-type", "")
            parse = partial(multipart_images, content_type, body, field="images", max_images=max_images)
            images = await off_loop(parse, len(body))
            del body, parse
            answers = await self.answers(images, name)
        return JSONResponse(answers)

    async def answers(self, images: list[bytes], name: str | None = None) -> list[dict[str, object]]:
        """A `PredictionBody` or an `ErrorBody` per encoded image, in order.

        Raises `Overloaded`, or what `Predictor.answer` raises.
        """
        async with self.predictor.admission.admit(len(images)):
            served, results = await self.predictor.answer(images, name)
        return [answer_body(served, result) for result in results]

    async def _name(self, request: Request) -> str | None:
        """That of the model in the path. Raises `ModelUnknown` before the body is read."""
        name: str | None = request.path_params.get("name")
        if name is not None:
            await self.models.check(name)
        return name

    async def model(self, request: Request) -> Response:
        name = request.path_params.get("name")
        served = self.models.default.current if name is None else await self.models.version(name)
        return Response(served.card, media_type="application/json")

    async def readyz(self, _: Request) -> Response:
        current = self.models.default.current
        if problem := self.predictor.decoders.problem:
            raise NotReady(f"No image can be decoded. {problem}")
        return PlainTextResponse(f"{current.model}\n")


def answer_body(served: LoadedVersion, result: Prediction | ImageError) -> dict[str, object]:
    """A `PredictionBody` or an `ErrorBody` as a plain dict, which is faster to make for every image."""
    if isinstance(result, ImageError):
        return error_body(result.code, str(result))
    ranked = sorted(zip(served.classifier.labels, result.probabilities, strict=True), key=lambda pair: -pair[1])
    return {
        "model": served.model,
        "label": result.label,
        "confidence": result.confidence,
        "unknown": result.unknown,
        "predictions": [{"label": label, "probability": probability} for label, probability in ranked],
    }
