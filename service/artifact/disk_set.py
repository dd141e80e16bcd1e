"""A set of texts on the disk: millions of paths in a few megabytes of memory."""

from __future__ import annotations

import sqlite3

CACHE_KIB = 8000


class DiskSet:
    """Kept in a file of SQLite's that has no name and ends with the process."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};"
            "CREATE TABLE texts (text TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN;"
        )
        self._count = 0

    def add(self, text: str) -> bool:
        """Whether it is new."""
        new = self._connection.execute("INSERT OR IGNORE INTO texts VALUES (?)", (_plain(text),)).rowcount > 0
        self._count += new
        return new

    def __contains__(self, text: str) -> bool:
        return self._connection.execute("SELECT 1 FROM texts WHERE text = ?", (_plain(text),)).fetchone() is not None

    def __len__(self) -> int:
        return self._count


def _plain(text: str) -> str:
    """SQLite takes no lone surrogates, which names that are not UTF-8 have."""
    return text.encode("utf-8", "backslashreplace").decode() if not text.isascii() else text
