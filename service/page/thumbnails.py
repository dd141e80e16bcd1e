"""The call for a small JPEG of any image, because browsers cannot show every format, such as HEIC."""

from __future__ import annotations

from handful.service.decoding.decoders import Decoders
from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.one_image import ONE_IMAGE, ONE_IMAGE_ERRORS, OneImage
from starlette.requests import Request
from starlette.responses import Response

SIDE = 512  # pixels of the longer side


class SmallPictures:
    """One per worker."""

    def __init__(self, images: OneImage, decoders: Decoders) -> None:
        self.images, self.decoders = images, decoders
        self.endpoints = (
            Endpoint(
                "POST",
                "/thumbnail",
                self.show,
                f"The image upright and in sRGB, at most {SIDE} pixels wide and high, for browsers.",
                answers={200: Answer("A JPEG", bytes, "image/jpeg")},
                errors=ONE_IMAGE_ERRORS,
                content=ONE_IMAGE,
            ),
        )

    async def show(self, request: Request) -> Response:
        async with self.images.of(request) as image:
            jpeg = await self.decoders.thumbnail(image, SIDE)
        return Response(jpeg, media_type="image/jpeg")
