"""The calls about the folder that `handful label` was started with; `labelling.py` does the work.

The photos are read where they lie: what a client names is the id of a file that was listed, never a path.
"""

from __future__ import annotations

import asyncio
import logging

from handful.service.artifact.errors import HandfulError, ImageError
from handful.service.artifact.images import read_bytes
from handful.service.artifact.names import name_from_folder
from handful.service.http.body import BODY_ERRORS, IMAGE_ERRORS
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import Answer, Endpoint
from handful.service.http.errors import JsonBroken, LabelWrong, NotReady, status_of
from handful.service.http.json_request import JsonRequest, json_content, read_json
from handful.service.http.library_errors import LibraryFull, NoSuchPhoto
from handful.service.http.model_errors import ModelTooLarge
from handful.service.http.schemas import PredictionBody
from handful.service.labelling.folder import LabelledFolder
from handful.service.labelling.labelling import Labelling
from handful.service.labelling.pool import PhotoPool, PoolPhoto
from handful.service.library.adding import PhotoUploads
from handful.service.library.bodies import UploadedBody
from handful.service.library.disk import DISK_ERRORS, LibraryDisk
from handful.service.library.labels import check_new_label
from handful.service.library.thumbnails import SIDE
from handful.service.serving.predictor import Predictor
from handful.service.serving.routes import answer_body
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

MOST_AT_ONCE = 1000  # photos that get a label by one call
FOLLOW_SECONDS = 1.0  # until the folder of labelled photos shows what was changed elsewhere
POOL = "/models/{name}/pool"
logger = logging.getLogger(__name__)


class PoolLabelRequest(JsonRequest):
    """Photos of the folder by their ids, and their label; it may be new."""

    label: str
    ids: list[str] = Field(min_length=1, max_length=MOST_AT_ONCE)


class WaitingPhoto(BaseModel):
    """A photo without a label."""

    id: str
    name: str = Field(description="relative to the folder")


class PoolBody(BaseModel):
    """Photos without a label."""

    photos: list[WaitingPhoto] = Field(description="in an order by chance; none where no folder is labelled")


class LabellingRoutes:
    """One per worker. `bodies` limits the bytes of all request bodies and photos in its memory."""

    def __init__(self, disk: LibraryDisk, uploads: PhotoUploads, predictor: Predictor, bodies: Capacity) -> None:
        self.disk, self.uploads, self.predictor, self.bodies = disk, uploads, predictor, bodies
        self.settings = settings = disk.settings
        source, out = settings.label_source, settings.label_out
        self.name = (settings.label_model or name_from_folder(source)) if source else None
        self.pool = PhotoPool(source.absolute()) if source else None
        self.out = LabelledFolder(out.absolute(), copy=settings.label_copy) if out else None
        self._labelling: Labelling | None = None
        one, bodies_of = f"{POOL}/{{photo}}", (*DISK_ERRORS, NoSuchPhoto)
        self.endpoints = (
            Endpoint(
                "GET",
                POOL,
                self.waiting,
                "The photos without a label of the folder that `handful label` was started with.",
                answers={200: Answer("All of them", PoolBody)},
                errors=DISK_ERRORS,
            ),
            Endpoint(
                "POST",
                f"{POOL}/label",
                self.label,
                "Gives photos of that folder a label: they lie in the photo library then, and in the folder of labels.",
                answers={200: Answer("What became of each", UploadedBody)},
                errors=(*bodies_of, *BODY_ERRORS, *IMAGE_ERRORS, JsonBroken, LabelWrong, LibraryFull),
                content=json_content(PoolLabelRequest),
            ),
            Endpoint(
                "POST",
                f"{one}/predict",
                self.predict,
                "The answer for a photo of that folder.",
                answers={200: Answer("The prediction", PredictionBody)},
                errors=(*bodies_of, *IMAGE_ERRORS, NotReady, ModelTooLarge),
            ),
            Endpoint(
                "GET",
                f"{one}/thumbnail",
                self.thumbnail,
                f"A JPEG of a photo of that folder, at most {SIDE} pixels wide and high.",
                answers={200: Answer("A JPEG", bytes, "image/jpeg")},
                errors=(*bodies_of, *IMAGE_ERRORS),
            ),
        )

    async def waiting(self, request: Request) -> Response:
        labelling = await self._of_model(request.path_params["name"])
        photos = await self.disk.call(labelling.open) if labelling else []
        return _json(PoolBody(photos=[WaitingPhoto(id=each.id, name=each.name) for each in photos]))

    async def label(self, request: Request) -> Response:
        labelling = await self._opened(request)
        asked = await read_json(request, PoolLabelRequest, self.settings.body_seconds, self.bodies)
        label, most_bytes = check_new_label(asked.label), int(self.settings.max_image_megabytes * 1e6)
        with self.uploads.uploads.reserve(1):
            async with self.uploads.folder(labelling.library) as folder:
                parts = await self.disk.call(labelling.parts, asked.ids, folder, most_bytes)
                result = await self.uploads.add(labelling.library, parts, label)
        await self.disk.call(labelling.write)
        return _json(result)

    async def predict(self, request: Request) -> Response:
        photo = await self._photo(request)
        with self.bodies.reserve(photo.size_bytes):
            async with self.predictor.admission.admit(1):
                image = await self.disk.call(self._read, photo)
                version, (answer,) = await self.predictor.answer([image], request.path_params["name"])
        status = status_of(type(answer)) if isinstance(answer, ImageError) else 200
        return JSONResponse(answer_body(version, answer), status)

    async def thumbnail(self, request: Request) -> Response:
        photo = await self._photo(request)
        with self.bodies.reserve(photo.size_bytes):
            image = await self.disk.call(self._read, photo)
            jpeg = await self.uploads.decoders.thumbnail(image, SIDE)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    async def follow(self) -> None:
        """Writes what a killed service could not, and what other calls change in the library, until cancelled."""
        failed = ""
        while self.name is not None and self.out:
            try:
                await self._catch_up(self.name)
                failed = ""
            except (OSError, HandfulError) as e:
                if failed != str(e):
                    logger.warning("%s cannot be brought up to date: %s", self.out.root, e)
                failed = str(e)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _catch_up(self, name: str) -> None:
        labelling = await self._of_model(name)
        if labelling is None:
            return
        if labelling.written is None:
            await self.disk.call(labelling.open)
        elif await self.disk.call(lambda: labelling.stamp) != labelling.written:
            await self.disk.call(labelling.write)

    async def _photo(self, request: Request) -> PoolPhoto:
        labelling = await self._opened(request)
        return await self.disk.call(labelling.pool.find, request.path_params["photo"])

    async def _opened(self, request: Request) -> Labelling:
        """Raises `NoSuchPhoto` for a model for which no folder is labelled."""
        labelling = await self._of_model(request.path_params["name"])
        if labelling is None:
            raise NoSuchPhoto("No folder is labelled for this model; `handful label FOLDER` does so.")
        if labelling.written is None:
            await self.disk.call(labelling.open)
        return labelling

    async def _of_model(self, name: str) -> Labelling | None:
        library = await self.disk.library(name)
        if self.pool is None or name != self.name:
            return None
        if self._labelling is None or self._labelling.library is not library:
            self._labelling = Labelling(self.pool, self.out, library)
        return self._labelling

    def _read(self, photo: PoolPhoto) -> bytes:
        return read_bytes(photo.path, max_megabytes=self.settings.max_image_megabytes)


def _json(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
