"""The libraries of all models as the calls reach them: in threads, with the disk's errors as answers."""

from __future__ import annotations

import asyncio
import errno
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from handful.service.artifact.atomic import private_folder
from handful.service.artifact.errors import UsageError
from handful.service.artifact.label_names import MAX_NAME_BYTES
from handful.service.artifact.names import check_name
from handful.service.artifact.store import Store, home
from handful.service.http.capacity import Capacity
from handful.service.http.errors import NO_SPACE_ERRNOS, AnyError, DiskFull, Overloaded
from handful.service.http.filenames import quoted
from handful.service.http.library_errors import LibraryChanged, ModelUnknown
from handful.service.http.model_errors import HomeNotWritable
from handful.service.library.library import PhotoLibrary
from handful.service.settings import Settings

THREADS = 4
MAX_CALLS = 128  # that wait for the disk at once
MOST_REMEMBERED = 100  # libraries, whose contents are known without reading a file
LIBRARY_FOLDER = "photos"  # below the home
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
CHANGED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ESTALE})
DISK_ERRORS: tuple[AnyError, ...] = (ModelUnknown, LibraryChanged, HomeNotWritable, DiskFull, Overloaded)

P = ParamSpec("P")
R = TypeVar("R")


class LibraryDisk:
    """One per worker. It lives in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.home = settings, home()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="library")
        self._calls = Capacity(MAX_CALLS, "calls about photos")
        self._libraries: OrderedDict[str, PhotoLibrary] = OrderedDict()

    async def library(self, name: str) -> PhotoLibrary:
        """Of a model that has versions or photos, or was made to have some. Raises `ModelUnknown`."""
        if not await self.call(_exists, self.home, name):
            raise ModelUnknown(f"There is no model {quoted(name)}.")
        return self.of_name(name)

    def of_name(self, name: str) -> PhotoLibrary:
        """For a name that is known to be one."""
        library = self._libraries.pop(name, None) or PhotoLibrary(
            self.home / LIBRARY_FOLDER / name,
            int(self.settings.max_library_megabytes * 1e6),
            self.settings.max_library_photos,
        )
        self._libraries[name] = library
        while len(self._libraries) > MOST_REMEMBERED:
            self._libraries.popitem(last=False)
        return library

    async def call(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs what reads or writes the disk. Raises the errors of `DISK_ERRORS`."""
        with self._calls.reserve(1):
            try:
                return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
            except OSError as e:
                if error := _answer(e):
                    raise error from e
                raise


def _answer(error: OSError) -> DiskFull | HomeNotWritable | LibraryChanged | None:
    if error.errno in NO_SPACE_ERRNOS:
        return DiskFull("There is no room on the disk for the photos.")
    if error.errno in READ_ONLY:
        return HomeNotWritable("Nothing can be written to HANDFUL_HOME here.")
    if error.errno in CHANGED:
        return LibraryChanged("The photo library was changed at the same moment; look at it again.")
    return None


def _exists(root: Path, name: str) -> bool:
    try:
        check_name(name)
    except UsageError:
        return False
    if len(name.encode()) > MAX_NAME_BYTES:
        return False
    library = root / LIBRARY_FOLDER / name
    if library.is_dir():
        return True
    if not Store(root).versions(name):
        return False
    with suppress(OSError):  # a home that cannot be written can still be read
        private_folder(library)  # of a model that was trained by command
    return True
