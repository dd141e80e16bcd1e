"""The calls about the models of the store: list, make, rename, delete, promote, roll back. Knows HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from handful.service.artifact.errors import HandfulError, ModelNotFound, UsageError
from handful.service.http.auth import ACCESS
from handful.service.http.body import BODY_ERRORS, JSON, read_body
from handful.service.http.capacity import Capacity
from handful.service.http.endpoint import TEXT, Answer, Endpoint, Schema
from handful.service.http.errors import DiskFull, FieldMissing, JsonBroken, MediaTypeUnsupported
from handful.service.http.filenames import quoted
from handful.service.http.json_body import json_text
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.model_errors import (
    HomeNotWritable,
    ModelBusy,
    ModelExists,
    NameWrong,
    PromoteRefused,
    UndoOver,
    UndoRefused,
)
from handful.service.http.multipart import media_type
from handful.service.models.bodies import AccessBody, DeletedBody, ModelBody, ModelDetail, ModelsBody, UndoneBody
from handful.service.models.catalogue import Catalogue, without_paths
from handful.service.models.changes import ModelChanges
from handful.service.models.disk import Disk
from handful.service.serving.served import ServedModels
from handful.service.settings import Settings
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

BODY_BYTES = 4096
SWEEP_SECONDS = 600.0


class ModelRoutes:
    """One per worker. `unfinished` names the models of jobs that wait or run; it reads the disk."""

    def __init__(
        self,
        settings: Settings,
        models: ServedModels,
        bodies: Capacity,
        disk: Disk,
        unfinished: Callable[[], set[str]],
    ) -> None:
        self.settings, self.models, self.bodies, self.unfinished = settings, models, bodies, unfinished
        self.disk = disk
        self.endpoints = (*self._reading(), *self._changing())

    def _reading(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "GET",
                "/access",
                self.access,
                "What the caller may do.",
                answers={200: Answer("With the key that was sent, if one was", AccessBody)},
            ),
            Endpoint(
                "GET",
                "/models",
                self.list_all,
                "Every model of the store.",
                answers={200: Answer("By name", ModelsBody)},
            ),
            Endpoint(
                "GET",
                "/models/{name}",
                self.show,
                "One model with its versions.",
                answers={200: Answer("The model", ModelDetail)},
                errors=(ModelUnknown,),
            ),
        )

    def _changing(self) -> tuple[Endpoint, ...]:
        writing = (HomeNotWritable, DiskFull)
        body = (*BODY_ERRORS, JsonBroken, FieldMissing)
        named = (*body, *writing, NameWrong, ModelExists)
        detail = Answer("The model", ModelDetail)
        return (
            Endpoint(
                "POST",
                "/models",
                self.create,
                "A new model: an empty photo library.",
                answers={201: Answer("The model", ModelBody)},
                errors=named,
                content=_fields("name"),
            ),
            Endpoint(
                "PATCH",
                "/models/{name}",
                self.rename,
                "Renames it; versions and photos go with it.",
                answers={200: Answer("The model", ModelBody)},
                errors=(*named, ModelUnknown, ModelBusy),
                content=_fields("name"),
            ),
            Endpoint(
                "DELETE",
                "/models/{name}",
                self.delete,
                "Deletes versions and photos; for an hour this can be undone.",
                answers={200: Answer("How to undo it", DeletedBody)},
                errors=(*writing, ModelUnknown, ModelBusy),
            ),
            Endpoint(
                "POST",
                "/undo/{token}",
                self.undo,
                "Brings back what was deleted.",
                answers={200: Answer("What is back", UndoneBody)},
                errors=(*writing, UndoOver, UndoRefused),
            ),
            Endpoint(
                "POST",
                "/models/{name}/promote",
                self.promote,
                "Makes a version the champion, the version in use.",
                answers={200: detail},
                errors=(*body, *writing, ModelUnknown, PromoteRefused, ModelBusy),
                content=_fields("version"),
            ),
            Endpoint(
                "POST",
                "/models/{name}/rollback",
                self.rollback,
                "Goes back to the champion before this one.",
                answers={200: detail},
                errors=(*writing, ModelUnknown, PromoteRefused, ModelBusy),
            ),
        )

    async def follow(self) -> None:
        """Until it is cancelled, ends what was left unfinished, and erases what was deleted over an hour ago."""
        while True:
            await self.disk.tidy(lambda: ModelChanges(self._catalogue()).finish())
            await asyncio.sleep(SWEEP_SECONDS)

    def _catalogue(self) -> Catalogue:
        return Catalogue(self.settings.model)

    async def access(self, request: Request) -> Response:
        access = request.scope.get(ACCESS)
        return _json(
            AccessBody(
                key_needed=bool(self.settings.api_keys), may_change=access == "change", may_ask=access is not None
            )
        )

    async def list_all(self, request: Request) -> Response:
        found = await self.disk.call(lambda: self._catalogue().summaries(self.models.loaded()))
        default = self.models.default_name
        return _json(ModelsBody(default=default, may_change=request.scope.get(ACCESS) == "change", models=found))

    async def show(self, request: Request) -> Response:
        return await self._detail(request.path_params["name"])

    async def create(self, request: Request) -> Response:
        name = await self._text(request, "name")
        body = await self.disk.call(lambda: self._summary(ModelChanges(self._catalogue()).create(name)))
        return _json(body, 201)

    async def rename(self, request: Request) -> Response:
        old, new = request.path_params["name"], await self._text(request, "name")
        body = await self.disk.call(lambda: self._summary(self._free(old).rename(old, new)))
        self.models.forget(old)
        return _json(body)

    async def delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        token, until = await self.disk.call(lambda: self._free(name).delete(name))
        self.models.forget(name)
        return _json(DeletedBody(undo=token, until=until))

    async def undo(self, request: Request) -> Response:
        token = request.path_params["token"]
        return _json(UndoneBody(undone=await self.disk.call(lambda: ModelChanges(self._catalogue()).undo(token))))

    async def promote(self, request: Request) -> Response:
        name, version = request.path_params["name"], await self._text(request, "version")
        await self.disk.call(self._promote, name, version)
        return await self._detail(name)

    async def rollback(self, request: Request) -> Response:
        name = request.path_params["name"]
        await self.disk.call(self._promote, name, None)
        return await self._detail(name)

    def _promote(self, name: str, version: str | None) -> None:
        """None: the champion before this one."""
        catalogue = self._catalogue()
        catalogue.check(name)
        self._check_not_fixed(name, catalogue)
        folder = catalogue.folder(name, version) if version is not None else catalogue.store.models / name
        try:
            if version is None:
                catalogue.store.rollback(name)
            else:
                catalogue.store.promote(name, version)
        except ModelNotFound as e:
            raise ModelUnknown(str(e)) from e
        except UsageError as e:
            raise PromoteRefused(f"{name} has no earlier champion that could be gone back to.") from e
        except HandfulError as e:
            raise PromoteRefused(without_paths(str(e), folder, version or "before")) from e

    def _free(self, name: str) -> ModelChanges:
        """Raises `ModelUnknown` or `ModelBusy`."""
        catalogue = self._catalogue()
        catalogue.check(name)
        self._check_not_fixed(name, catalogue)
        if name in self.unfinished():
            raise ModelBusy(f"A job of {quoted(name)} waits or runs; wait until it has ended, or cancel it.")
        return ModelChanges(catalogue)

    def _check_not_fixed(self, name: str, catalogue: Catalogue) -> None:
        if catalogue.is_fixed(name):
            raise ModelBusy(f"This service always answers with one fixed version of {quoted(name)}.")

    def _summary(self, name: str) -> ModelBody:
        return self._catalogue().summary(name)

    async def _detail(self, name: str) -> Response:
        loaded = name in self.models.loaded()
        return _json(await self.disk.call(lambda: self._catalogue().detail(name, loaded=loaded)))

    async def _text(self, request: Request, field: str) -> str:
        """The one field of a small JSON body."""
        kind = request.headers.get("content-type", "")
        if media_type(kind) != JSON:
            raise MediaTypeUnsupported(f"The Content-Type is {quoted(kind)}; {JSON} is allowed.")
        with self.bodies.reserve() as reservation:
            seconds = self.settings.body_seconds
            body = await read_body(request.headers, request.receive, BODY_BYTES, seconds, reservation)
        return json_text(body, field)


def _fields(name: str) -> dict[str, Schema]:
    """A JSON body with exactly this text."""
    return {JSON: {"type": "object", "properties": {name: TEXT}, "required": [name], "additionalProperties": False}}


def _json(body: BaseModel, status: int = 200) -> Response:
    return Response(body.model_dump_json(), status, media_type=JSON)
