"""The result of a benchmark: its text, and its measurements against the targets."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.bench import CACHE, HERE, Bench


class Target(BaseModel):
    """One row of the design's table of speeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    target: str
    measured: str
    reached: bool | None  # None if not measured
    why: str = ""  # if missed or not measured: the reason and the next idea


class Section(BaseModel):
    """One benchmark's part of RESULTS.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    text: str  # Markdown
    targets: list[Target] = []
    measured_at: str = ""
    seconds: float = 0.0


def judged(what: str, target: str, measured: str, *, reached: bool, why: str) -> Target:
    """A measured target; the reason is dropped if it was reached."""
    return Target(what=what, target=target, measured=measured, reached=reached, why="" if reached else why)


def plot_path(name: str, bench: Bench) -> Path:
    """Beside RESULTS.md, or in the cache for a quick run, which does not change RESULTS.md."""
    return (CACHE if bench.quick else HERE) / f"{name}.png"
