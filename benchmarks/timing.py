"""Timing: contenders take turns in several rounds; results are medians with the extremes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        return short(self.median) if len(self.values) == 1 else f"{short(self.median)} ({short(low)} to {short(high)})"


def seconds_of(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def alternate(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Measured]:
    """Each contender's number in each round; they take turns, so that a busy machine disturbs all alike."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            values[name].append(run())
    return {name: Measured(tuple(each)) for name, each in values.items()}


def per_second(run: Callable[[], object], count: int, least_seconds: float = 0.4) -> float:
    """Items per second of a call that does `count` items; repeated for `least_seconds`, after one warm-up call."""
    run()
    calls, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < least_seconds or not calls:
        run()
        calls += 1
    return count * calls / passed


def short(value: float) -> str:
    """With three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
