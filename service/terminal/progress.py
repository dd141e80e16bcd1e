"""Progress: a bar on stderr if it is a terminal, and JSON lines for another program.

If HANDFUL_PROGRESS names a file, each stage appends one line to it when it begins, at most every half second, and
when it ends: {"stage": "embed", "done": 96, "total": 160}.
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
    def __call__(self, count: int, text: str | None = None, *, fewer: int = 0) -> None: ...


@contextmanager
def progress_bar(text: str, total: int | None = None) -> Iterator[Advance]:
    """Yields a function to call with the number of items done since the last call.

    It also takes a new text for the bar, and the number of items by which the total turned out too high.
    """
    console = Console(stderr=True)
    visible = (
        console.is_terminal and os.environ.get("RANK", "0") == "0"
    )  # under torchrun only the first process shows a bar
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    lines = _Lines(text, total)
    with Progress(*columns, console=console, disable=not visible) as bar:
        task = bar.add_task(text, total=total)

        def advance(count: int, text: str | None = None, *, fewer: int = 0) -> None:
            lines.total = None if lines.total is None else lines.total - fewer
            bar.update(task, description=text, total=lines.total)
            bar.advance(task, count)
            lines.advance(count)

        try:
            yield advance
        finally:
            lines.write()


class _Lines:
    """One stage's lines; an error in writing them is ignored, as the work matters more."""

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
