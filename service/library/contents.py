"""Which file has which content: a file is read once, and recognised afterwards wherever it is moved or renamed to.

PHOTOS/.library/contents.sqlite3   file (inode, bytes, time of change) -> sha256; and which contents cannot be decoded

It is a cache: what it lacks is read from the files, and a damaged one is begun again. So it need not be synced.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from handful.service.artifact.folder import file_sha256

FILE = "contents.sqlite3"
BUSY_SECONDS = 5.0
CHUNK_FILES = 100  # that are read before what was found is kept: a killed or late reading goes on from there
SPARE_ROWS = 2000  # of files that are gone
SIGNED = (1 << 63) - 1  # SQLite's integers; some network disks number files beyond

logger = logging.getLogger(__name__)
FileKey = tuple[int, int, int]  # inode, bytes, nanoseconds of the last change
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (inode INTEGER, bytes INTEGER, changed INTEGER, sha256 TEXT NOT NULL,
    PRIMARY KEY (inode, bytes, changed)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unreadable (sha256 TEXT PRIMARY KEY, detail TEXT NOT NULL) WITHOUT ROWID;
"""


def content_key(status: os.stat_result) -> FileKey:
    return status.st_ino & SIGNED, status.st_size, status.st_mtime_ns


class Contents:
    """Of one library; every method reads the disk. None raises for the cache's own faults."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._known: dict[FileKey, str] = {}

    def identify(self, files: Collection[tuple[str, FileKey]]) -> dict[FileKey, str]:
        """The sha256 of each; files that cannot be read, or are gone, are left out."""
        missing = [(location, key) for location, key in files if key not in self._known]
        if missing:
            self._known.update(self._rows())
            missing = [(location, key) for location, key in missing if key not in self._known]
        for start in range(0, len(missing), CHUNK_FILES):
            self.remember(_read(missing[start : start + CHUNK_FILES]))
        keys = {key for _, key in files}
        if len(self._known) > 2 * len(keys) + SPARE_ROWS:
            self._forget_all_but(keys)
        known = self._known
        return {key: sha256 for key in keys if (sha256 := known.get(key))}

    def remember(self, rows: Iterable[tuple[FileKey, str]]) -> None:
        new = dict(rows)
        self._known.update(new)
        with self._writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", [(*key, sha256) for key, sha256 in new.items()]
            )

    def unreadable(self) -> dict[str, str]:
        """sha256 -> why it cannot be decoded."""
        try:
            with self._connection() as connection:
                return dict(connection.execute("SELECT sha256, detail FROM unreadable"))
        except sqlite3.Error:
            return {}

    def note_unreadable(self, sha256: str, detail: str) -> None:
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO unreadable VALUES (?, ?)", (sha256, detail))

    def _rows(self) -> dict[FileKey, str]:
        try:
            with self._connection() as connection:
                rows = connection.execute("SELECT inode, bytes, changed, sha256 FROM files")
                return {(inode, count, changed): sha256 for inode, count, changed, sha256 in rows}
        except sqlite3.Error as e:
            self._begin_again(e)
            return {}

    def _forget_all_but(self, keys: set[FileKey]) -> None:
        gone = [key for key in list(self._known) if key not in keys]
        for key in gone:
            self._known.pop(key, None)
        with self._writing() as connection:
            connection.executemany("DELETE FROM files WHERE inode = ? AND bytes = ? AND changed = ?", gone)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection() as connection, connection:
                yield connection
        except sqlite3.Error as e:
            self._begin_again(e)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(_SCHEMA)
            yield connection

    def _begin_again(self, error: sqlite3.Error) -> None:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            logger.warning("%s is damaged (%s); it is begun again", self.path, error)
            self.path.unlink(missing_ok=True)


def _read(files: Iterable[tuple[str, FileKey]]) -> Iterator[tuple[FileKey, str]]:
    """Only of files that are still the ones that were listed."""
    for location, key in files:
        path = Path(location)
        try:
            sha256 = file_sha256(path)
            if content_key(path.stat()) == key:
                yield key, sha256
        except OSError:
            continue
