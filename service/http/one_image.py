"""The one image of a request, taken within all limits: what the calls share that are sent a single image."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from handful.service.http.body import (
    BODY_ERRORS,
    IMAGE_ERRORS,
    OVERHEAD_BYTES,
    off_loop,
    read_body,
    single_image,
    single_image_megabytes,
)
from handful.service.http.capacity import Admission, Capacity
from handful.service.http.endpoint import FILE, form
from handful.service.http.errors import JsonBroken
from handful.service.http.json_body import JSON_IMAGE
from handful.service.settings import Settings
from starlette.requests import Request

ONE_IMAGE = {  # an endpoint's content
    **form({"image": FILE}),
    "image/*": FILE,
    "application/octet-stream": FILE,
    "application/json": JSON_IMAGE,
}
ONE_IMAGE_ERRORS = (*BODY_ERRORS, *IMAGE_ERRORS, JsonBroken)


class OneImage:
    """One per worker. `bodies` limits the bytes of all request bodies in its memory."""

    def __init__(self, settings: Settings, bodies: Capacity, admission: Admission) -> None:
        self.settings, self.bodies, self.admission = settings, bodies, admission

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """Holds the image's place until the block ends.

        It is admitted before it is taken out of its form or its base64, which costs time and memory.
        """
        kind = request.headers.get("content-type", "")
        limit_bytes = int(single_image_megabytes(kind, self.settings.max_image_megabytes) * 1e6) + OVERHEAD_BYTES
        with self.bodies.reserve() as reservation:
            seconds = self.settings.body_seconds
            body = await read_body(request.headers, request.receive, limit_bytes, seconds, reservation)
            async with self.admission.admit(1):
                image = await off_loop(partial(single_image, kind, body), len(body))
                del body
                yield image
