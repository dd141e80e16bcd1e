"""The SQLite file of the table of jobs: opened per call, brought to the present columns, its errors as OSError.

SQLite keeps its rollback journal here: its write-ahead log needs memory that processes share, which network disks
do not have.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

BUSY_SECONDS = 5.0  # that a call waits while another process writes; a write takes milliseconds

logger = logging.getLogger(__name__)
_SCHEMA = """CREATE TABLE IF NOT EXISTS jobs (
    job TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    promote TEXT NOT NULL,
    files INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT FALSE,
    error TEXT,
    result TEXT
)"""
_ADDED = {  # columns that tables of earlier releases lack; theirs hold retrainings with a zip
    "kind": "TEXT NOT NULL DEFAULT 'retrain'",
    "options": "TEXT NOT NULL DEFAULT '{}'",
    "starts": "INTEGER NOT NULL DEFAULT 0",
}
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
}


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """One process writes at a time; nothing is written if the block raises."""
    with connection(path) as opened:
        opened.execute("BEGIN IMMEDIATE")
        try:
            yield opened
            opened.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                opened.execute("ROLLBACK")
            raise


@contextmanager
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Turns SQLite's errors into OSError. A damaged table is put aside: jobs are not worth a repair."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as opened:
            opened.row_factory = sqlite3.Row
            opened.execute(_SCHEMA)
            _add_columns(opened)
            yield opened
    except sqlite3.Error as e:
        code = getattr(e, "sqlite_errorcode", 0) & 0xFF  # the rest says more exactly what happened
        if code in _DAMAGED:
            logger.warning("%s is damaged (%s); a new table is begun", path, e)
            path.replace(path.with_suffix(".damaged"))
        raise OSError(_ERRNO.get(code, errno.EIO), f"{path.name}: {e}") from e


def _add_columns(opened: sqlite3.Connection) -> None:
    if not _missing(opened):
        return
    opened.execute("BEGIN IMMEDIATE")  # another worker may be adding them
    for column in _missing(opened):
        opened.execute(f"ALTER TABLE jobs ADD COLUMN {column} {_ADDED[column]}")
    opened.execute("COMMIT")


def _missing(opened: sqlite3.Connection) -> list[str]:
    there = {row["name"] for row in opened.execute("PRAGMA table_info(jobs)")}
    return [column for column in _ADDED if column not in there]
