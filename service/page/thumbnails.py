"""The call that makes a small picture of any image, for what a browser cannot show itself, such as HEIC."""

from __future__ import annotations

from functools import partial

from handful.service.artifact.errors import ImageError
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
from handful.service.http.errors import JsonBroken, status_of
from handful.service.http.schemas import error_body
from handful.service.serving.predictor import Predictor
from handful.service.serving.routes import ONE_IMAGE
from handful.service.settings import Settings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

SIDE = 512  # pixels of the longer side


class SmallPictures:
    """One per worker. `bodies` limits the bytes of all request bodies in its memory."""

    def __init__(self, settings: Settings, predictor: Predictor, bodies: Capacity) -> None:
        self.settings, self.predictor, self.bodies = settings, predictor, bodies
        self.endpoints = (
            Endpoint(
                "POST",
                "/thumbnail",
                self.show,
                f"The image upright and in sRGB, at most {SIDE} pixels wide and high, for browsers.",
                answers={200: Answer("A JPEG", bytes, "image/jpeg")},
                errors=(*BODY_ERRORS, *IMAGE_ERRORS, JsonBroken),
                content=ONE_IMAGE,
            ),
        )

    async def show(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "")
        limit = int(single_image_megabytes(kind, self.settings.max_image_megabytes) * 1e6) + OVERHEAD_BYTES
        with self.bodies.reserve() as reservation:
            seconds = self.settings.body_seconds
            body = await read_body(request.headers, request.receive, limit, seconds, reservation)
            async with self.predictor.admission.admit(1):
                image = await off_loop(partial(single_image, kind, body), len(body))
                try:
                    jpeg = await self.predictor.decoders.thumbnail(image, SIDE)
                except ImageError as e:
                    return JSONResponse(error_body(e.code, str(e)), status_of(type(e)))
        return Response(jpeg, media_type="image/jpeg")
