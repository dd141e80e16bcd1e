"""What lies at an address -> files of this process, fetched once and removed at its end."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.remote import WEB, RemoteFile, download, fetching, listed
from handful.service.artifact.sources.table_files import TABLE_SUFFIXES
from handful.service.artifact.sources.unpacking import unpacked

THREADS = 16


def labelled_copy(source: RemoteFile) -> Path:
    """A zip or a folder to learn from. `UsageError` for a table, whose photos would lie elsewhere."""
    kind = source.path.suffix.lower()
    if kind == ".zip":
        return local_copy(source)
    if kind in TABLE_SUFFIXES:
        raise UsageError(f"{source} is a table at an address; name the folder that holds it and its photos, or a zip.")
    if source.url.partition("://")[0] in WEB:
        raise UsageError(f"{source} cannot be listed, as nothing on the web can; a .zip there is expected.")
    return _local_folder(source)


def local_copy(source: RemoteFile) -> Path:
    """The file, fetched once in this process and removed at its end."""
    folder = unpacked(("address", source.url), lambda folder: download(source.url, folder / source.name))
    return folder / source.name


def _local_folder(source: RemoteFile) -> Path:
    """All files below the address, fetched once in this process: photos to learn from are few."""

    def fill(folder: Path) -> None:
        files = listed(source.url)
        if not files:
            raise DataError(f"{source} is not there, or holds no file.")
        targets = {url: folder / PurePosixPath(url.removeprefix(f"{source}/")) for url in files}
        if wrong := next((url for url, path in targets.items() if ".." in path.parts), None):
            raise DataError(f"{source} holds {wrong}, whose name leads out of it.")
        for path in targets.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        with fetching(THREADS) as pool:
            for _ in pool.map(download, targets, targets.values()):
                pass

    return unpacked(("addresses", source.url), fill)
