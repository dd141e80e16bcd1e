"""What was measured of each engine on this machine: `HANDFUL_HOME/cache/engines.json`. Read and written without torch.

fastest.py measures, by network, device, cores and version of torch.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from handful.service.artifact.atomic import locked, replace_text
from handful.service.artifact.store import home

logger = logging.getLogger(__name__)
TIE = 0.05  # within this share of the fastest, the simpler engine is chosen
WHY = "it was the fastest when the engines were timed here"


@dataclass(frozen=True)
class Workload:
    """Batches of `images`, computed by so many threads at once, each on its share of the cores."""

    images: int
    threads: int

    @property
    def key(self) -> str:
        return f"{self.images}x{self.threads}"


Rates = dict[str, float]  # images per second by engine, the simplest engine first


def fastest_of(rates: Rates) -> str:
    """The simplest engine that is not slower than the fastest by more than a tie."""
    best = max(rates.values())
    return next(name for name, rate in rates.items() if rate >= (1 - TIE) * best)


def rates_text(timed: Mapping[Workload, Rates]) -> list[str]:
    """A line for each workload, for a person."""
    lines = []
    for workload, rates in timed.items():
        each = ", ".join(f"{name} {rate:,.0f}" if rate else f"{name} not usable" for name, rate in rates.items())
        batch = "one image at a time" if workload.images == 1 else f"batches of {workload.images}"
        lines.append(f"images per second, {batch}, {workload.threads} in parallel: {each}")
    return lines


def processor_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def remembered(key: str, workload: Workload) -> Rates:
    """Empty where nothing is."""
    return _read().get(key, {}).get(workload.key, {})


def remember(key: str, workload: Workload, rates: Mapping[str, float]) -> None:
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.with_name("engines.lock")):
            known = _read()
            known.setdefault(key, {})[workload.key] = dict(rates)
            replace_text(file, json.dumps(known, indent=1))
    except OSError as e:
        logger.info("Engine timings cannot be kept (%s); they are made again at the next start", e)


def _file() -> Path:
    return home() / "cache" / "engines.json"


def _read() -> dict[str, dict[str, Rates]]:
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # not timed yet, or damaged: it is timed again
    return known if isinstance(known, dict) else {}
