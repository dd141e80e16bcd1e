"""s3://bucket/folder, https://host/photo.jpg and their like -> photos; a table or zip there is fetched first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from handful.service.artifact.errors import DataError
from handful.service.artifact.formats.kinds import SUFFIXES
from handful.service.artifact.image_files import LEFT_BEHIND, NO_ENDING
from handful.service.artifact.remote import WEB, RemoteFile, listed
from handful.service.artifact.sources.columns import ColumnNames
from handful.service.artifact.sources.copies import local_copy
from handful.service.artifact.sources.reader import ListedPhotos, list_photos
from handful.service.artifact.sources.table_files import TABLE_SUFFIXES


def list_address(source: RemoteFile, path_column: str | None) -> ListedPhotos | None:
    """The photos of a folder, table or zip at an address; None for a photo. Raises `StoreError`."""
    kind = source.path.suffix.lower()
    if kind in TABLE_SUFFIXES or kind == ".zip":
        return list_photos(local_copy(source), path_column, base=source)
    ColumnNames(path_column).check_unused(source.url, "no table")
    if kind in SUFFIXES or source.url.partition("://")[0] in WEB:
        return None
    files = listed(source.url)
    if not files:
        raise DataError(f"{source} is not there, or holds no file.")
    if files == [source.url]:
        return None
    photos, left_out = [], Counter[str]()
    for url in files:
        below = PurePosixPath(url.removeprefix(f"{source}/"))
        if any(part.startswith(".") or part.lower() in LEFT_BEHIND for part in below.parts):
            left_out["hidden"] += 1
        elif below.suffix.lower() in SUFFIXES:
            photos.append(RemoteFile(url))
        else:
            left_out[below.suffix.lower() or NO_ENDING] += 1
    return ListedPhotos(Path(), photos, left_out)
