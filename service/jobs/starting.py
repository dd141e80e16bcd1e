"""A request -> a job that waits: with the zip that was sent, or with the photos of the model's library."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from handful.service.http.body import OVERHEAD_BYTES, archive_type, save_body, take_archive
from handful.service.http.capacity import Capacity
from handful.service.http.schemas import Kind, Promote
from handful.service.jobs.job import Job, JobOptions
from handful.service.jobs.table import CONTENTS, Upload
from handful.service.jobs.worker import MAX_UPLOADS, JobWorker
from handful.service.library.library import PhotoLibrary
from handful.service.library.snapshot import copy_all, copy_waiting
from handful.service.settings import Settings
from starlette.requests import Request


class JobStarter:
    """One per worker."""

    def __init__(self, settings: Settings, worker: JobWorker) -> None:
        self.settings, self.worker = settings, worker
        self.uploads = Capacity(MAX_UPLOADS, "zips of photos")

    async def with_zip(self, request: Request, name: str, kind: Kind, promote: Promote, labels: Collection[str]) -> Job:
        """Everything that can be refused without the body is refused before it is read.

        `labels` are the model's. Raises an `ArchiveError`, `TooManyJobs`, and what reading a body may raise.
        """
        content_type = request.headers.get("content-type", "")
        archive_type(content_type)
        limit_bytes = int(self.settings.max_retrain_megabytes * 1e6) + OVERHEAD_BYTES
        with self.uploads.reserve(1):
            async with self.worker.upload() as upload:
                await self.check_queue(name)
                body, archive = upload.folder / "body", upload.folder / "photos.zip"
                await save_body(request.headers, request.receive, limit_bytes, self.settings.upload_seconds, body)
                await self.worker.call(take_archive, content_type, body, archive)
                files = await self.worker.unpack(upload, archive, labels)
                return await self.worker.add(upload, name, kind, files, promote)

    async def with_library(
        self, copy: Callable[[Path], dict[str, str]], name: str, kind: Kind, promote: Promote, options: JobOptions
    ) -> Job:
        """`copy` puts photos into a folder and returns their contents by place. Raises what it does, `TooManyJobs`."""
        async with self.worker.upload() as upload:
            await self.check_queue(name)
            photos = await self.worker.call(_copied, copy, upload)
            return await self.worker.add(upload, name, kind, photos, promote, options)

    async def of_library(self, library: PhotoLibrary, name: str, *, trained: bool) -> Job:
        """What the model has not learned yet, or where it has no version all. Raises as `with_library`."""
        options = JobOptions(source="library", backbone=None if trained else self.settings.backbones[0])
        copy = partial(copy_waiting, library, name) if trained else partial(copy_all, library)
        return await self.with_library(copy, name, "retrain" if trained else "train", "auto", options)

    async def without_photos(self, name: str, kind: Kind, options: JobOptions) -> Job:
        """Raises `TooManyJobs`."""
        async with self.worker.upload() as upload:
            await self.check_queue(name)
            return await self.worker.add(upload, name, kind, 0, "never", options)

    async def check_queue(self, name: str) -> None:
        """Raises `TooManyJobs`."""
        await self.worker.call(self.worker.table.check_queue, name, self.settings.max_jobs)


def _copied(copy: Callable[[Path], dict[str, str]], upload: Upload) -> int:
    contents = copy(upload.photos)
    (upload.folder / CONTENTS).write_text(json.dumps(contents), encoding="utf-8")
    return len(contents)
