"""Progress: one bar on stderr with rate and time left, silence where nobody watches, and lines for a program.

Where HANDFUL_PROGRESS names a file, each stage appends to it, at most every half second and when
it begins and ends, one line of JSON: {"stage": "embed", "done": 96, "total": 160}.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

PROGRESS_FILE = "HANDFUL_PROGRESS"
LINE_SECONDS = 0.5


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f}/s")


class Advance(Protocol):
    def __call__(self, count: int, words: str | None = None, *, fewer: int = 0) -> None: ...


@contextmanager
def progress_bar(words: str, total: int | None = None) -> Iterator[Advance]:
    """Yields a function to call with the number of things done since the last call.

    It may also be given new words for the bar, and how many fewer things there are to do than was thought.
    """
    console = Console(stderr=True)
    watched = console.is_terminal and os.environ.get("RANK", "0") == "0"  # of torchrun's processes the first speaks
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    lines = _Lines(words, total)
    with Progress(*columns, console=console, disable=not watched) as bar:
        task = bar.add_task(words, total=total)

        def advance(count: int, words: str | None = None, *, fewer: int = 0) -> None:
            lines.total = None if lines.total is None else lines.total - fewer
            bar.update(task, description=words, total=lines.total)
            bar.advance(task, count)
            lines.advance(count)

        try:
            yield advance
        finally:
            lines.write()


class _Lines:
    """One stage's lines; a file that cannot be written is no reason to end the work."""

    def __init__(self, stage: str, total: int | None) -> None:
        self.path, self.stage, self.total, self.done = os.environ.get(PROGRESS_FILE), stage, total, 0
        self.write()

    def advance(self, count: int) -> None:
        self.done += count
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        self._next = time.monotonic() + LINE_SECONDS
        if self.path:
            line = json.dumps({"stage": self.stage, "done": self.done, "total": self.total})
            with suppress(OSError), open(self.path, "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(line + "\n")
