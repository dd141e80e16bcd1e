"""What every peer's script shares: its photos, its clock, one JSON line as its answer."""

from __future__ import annotations

import json
import time
from pathlib import Path

BATCH = 32


def photos(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})


def answer(**values: object) -> None:
    """The last line on stdout; the benchmark reads that one only."""
    print(json.dumps(values), flush=True)


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started
