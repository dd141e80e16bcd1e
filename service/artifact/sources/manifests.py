"""A table of paths or addresses without labels -> its photos, row by row: a million take no more memory than ten."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from handful.service.artifact.disk_set import DiskSet
from handful.service.artifact.errors import DataError
from handful.service.artifact.remote import RemoteFile, is_url
from handful.service.artifact.sources.tables import OpenedTable, RowError, TableRow, TableSettings, located


class _Scan(NamedTuple):
    """What one reading of all rows tells."""

    root: Path  # the table's folder, or where photos lie elsewhere the folder that all of them have in common
    photos: int


class Manifest:
    """The photos of a table in the order of its rows, each once; read from its beginning each time."""

    def __init__(self, table: OpenedTable, source: str, settings: TableSettings, base: RemoteFile | None) -> None:
        """Paths of a table that was fetched from `base` are below the folder there."""
        self._table, self._source, self._settings = table, source, settings
        self._folder = table.table.path.parent
        self._base = base.url.rpartition("/")[0] if base else None

    @property
    def root(self) -> Path:
        """Names of photos that are files here are relative to it. `DataError` where no row points to a file."""
        return self._scan.root

    def __len__(self) -> int:
        return self._scan.photos

    def __iter__(self) -> Iterator[Path | RemoteFile]:
        seen = DiskSet()
        return (photo for photo in map(self._photo, self._table.rows()) if seen.add(str(photo)))

    def _photo(self, row: TableRow) -> Path | RemoteFile:
        """Missing files too: their rows say so."""
        if is_url(row.text):
            return RemoteFile(row.text)
        if self._base and row.text:
            return RemoteFile(f"{self._base}/{row.text.removeprefix('./').lstrip('/')}")
        try:
            return located(row, self._folder, self._settings, None)
        except RowError:
            return self._folder / (row.text or f"row {row.number}")

    @cached_property
    def _scan(self) -> _Scan:
        rows, problem, found = DiskSet(), "", False
        common: Path | None = None
        last: Path | None = None
        below = True
        for row in self._table.rows():
            new = rows.add(row.text or f"row {row.number}")
            if self._base or is_url(row.text):
                found = True
                continue
            if not found:
                found, problem = self._is_there(row, problem)
            folder = (self._folder / row.text.removeprefix("file://")).parent if row.text else self._folder
            if new and folder != last:
                common, last = folder if common is None else _common(common, folder), folder
                below = below and folder.is_relative_to(self._folder)
        if not len(rows):
            raise DataError(f"{self._source} has no row with a photo.")
        if not found:
            raise DataError(f"None of the {len(rows):,} rows of {self._source} points to a file. {problem}")
        return _Scan(self._folder if below or common is None else common, len(rows))

    def _is_there(self, row: TableRow, problem: str) -> tuple[bool, str]:
        try:
            located(row, self._folder, self._settings, None)
        except RowError as e:
            return False, problem or f"Row {row.number} {e}"
        return True, ""


def _common(first: Path, second: Path) -> Path:
    try:
        return Path(os.path.commonpath([first, second]))
    except ValueError:  # on several drives
        return first
