"""Progress: a command's first words, one bar over all its stages, and JSON lines for another program.

    with working("Learning from the photos in shoes.", {STARTING: 3, LOOKING: 8}):
        with progress_bar(LOOKING, 160) as advance:
            advance(16)

The words are written to stderr at once. The bar is on stderr too, only if that is a terminal, and disappears at the
end. Code in any room reports its stage by `progress_bar` or `next_stage`; outside `working` nothing is shown.

If HANDFUL_PROGRESS names a file, each stage appends one line to it when it begins, and one with a count also at most
every half second and when it ends: {"stage": "looking at the photos", "done": 96, "total": 160,
"seconds_left": 14}. The time left is that of the whole command; null until it can be guessed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from handful.service.terminal.output import print_words, printable_lines

if TYPE_CHECKING:  # rich is loaded where a bar is shown
    from rich.progress import Progress

PROGRESS_FILE = "HANDFUL_PROGRESS"
LINE_SECONDS = 0.5
UNFINISHED = 1e-6  # share of the time: at its total, rich would stop the clock
LEFT_FROM_SECONDS = 3.0  # that a stage has run before the time it needs is worth a guess

# stages that several commands have, in the words that a person reads
STARTING = "starting"
LOADING = "loading the pretrained network"
LOADING_MODEL = "loading the model"
CHOOSING = "choosing"
LOOKING = "looking at the photos"
LEARNING = "learning to tell the labels apart"
FINE_TUNING = "training the whole network"
INTEGERS = "trying 8-bit integers"
COMPARING = "comparing with the version in use"
REPORTING = "drawing the report"
CHANGED_COPIES = "asking again for changed copies of the photo"
LOOKING_INSIDE = "looking at what the network responds to"
DRAWING = "drawing the picture"
TESTING = "answering photos that it has not seen"


class Advance(Protocol):
    def __call__(self, count: int, text: str | None = None, *, fewer: int = 0) -> None: ...


@contextmanager
def working(words: str, shares: Mapping[str, float]) -> Iterator[None]:
    """Writes the words at once, then shows a bar until the block ends.

    `shares` are the command's stages in their order, each with its usual share of the time.
    """
    global _bar, _clock, _speaking  # one terminal, one bar
    if os.environ.get("RANK", "0") != "0":  # under torchrun only the first process speaks
        yield
        return
    print_words(words)
    _speaking, _clock = True, WorkClock(shares)
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        try:
            yield
        finally:
            _speaking, _clock = False, None
        return
    _bar = _Bar(_clock)
    try:
        with _bar.progress:
            yield
    finally:
        _bar, _clock, _speaking = None, None, False


@contextmanager
def progress_bar(text: str, total: int | None = None) -> Iterator[Advance]:
    """A stage that counts. Yields a function to call with the number of items done since the last call.

    It also takes a new text for the bar, and the number of items by which the total turned out too high.
    """
    _begin(text)
    lines = _Lines(text, total)
    if _bar:
        _bar.begin(text, total)

    def advance(count: int, text: str | None = None, *, fewer: int = 0) -> None:
        lines.total = None if lines.total is None else lines.total - fewer
        lines.advance(count)
        if _bar:
            _bar.advance(text, lines.done, lines.total)

    try:
        yield advance
    finally:
        lines.write()


def next_stage(text: str) -> None:
    """A stage that counts nothing; it lasts until the next one begins."""
    _begin(text)
    _Lines(text, None)
    if _bar:
        _bar.begin(text, None)


def note(text: str) -> None:
    """A line that stays on the terminal, above the bar."""
    if _bar:
        _bar.progress.console.print(printable_lines(text), highlight=False, markup=False)


def tell(text: str) -> None:
    """A line on stderr that a person should read; outside `working` nothing is shown."""
    if _bar:
        note(text)
    elif _speaking:
        print_words(text)


@contextmanager
def paused() -> Iterator[None]:
    """Takes the bar away while other code shows one of its own."""
    if _bar:
        _bar.progress.stop()
    try:
        yield
    finally:
        if _bar:
            _bar.progress.start()


def _begin(text: str) -> None:
    if _clock:
        _clock.begin(text)


class WorkClock:
    """How far a command is, by the usual shares of its stages."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.shares, self.whole = dict(shares), sum(shares.values())
        self.before = self.share = 0.0  # of the stages that are done, and of the present one
        self.started = self.stage_started = time.monotonic()

    def begin(self, text: str) -> None:
        """A stage that was not announced takes no share; an announced one ends those before it."""
        if text in self.shares:
            names = list(self.shares)
            self.before = sum(self.shares[name] for name in names[: names.index(text)])
            self.share = self.shares[text]
        else:
            self.before, self.share = self.before + self.share, 0.0
        self.stage_started = time.monotonic()

    def done(self, part: float) -> float:
        """Of the whole, when so much of the present stage is done."""
        return self.before + self.share * part

    def seconds_left_in_stage(self, part: float) -> float | None:
        elapsed = time.monotonic() - self.stage_started
        return elapsed * (1 - part) / part if elapsed >= LEFT_FROM_SECONDS and 0 < part < 1 else None

    def seconds_left(self, part: float) -> int | None:
        """Of the whole command: the present stage as fast as until now, the later ones by their shares."""
        elapsed, done = time.monotonic() - self.started, self.done(part)
        if elapsed < LEFT_FROM_SECONDS or not 0 < done < self.whole:
            return None
        of_share = elapsed / done
        stage = self.seconds_left_in_stage(part)
        own = self.share * (1 - part) * of_share if stage is None else stage
        return round(own + (self.whole - self.before - self.share) * of_share)


class _Bar:
    """One line: the present stage, its count, a bar over all stages, and the time since the start."""

    def __init__(self, clock: WorkClock) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        self.clock, first = clock, next(iter(clock.shares))
        words = TextColumn(
            "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        )
        self.progress: Progress = Progress(
            SpinnerColumn(),
            words,
            TextColumn("{task.fields[count]}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=16),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            expand=True,
            redirect_stdout=False,
        )
        self.task = self.progress.add_task(first, total=clock.whole + UNFINISHED, count="")
        clock.begin(first)
        self.begin(first, None)

    def begin(self, text: str, total: int | None) -> None:
        self.advance(text, 0, total)

    def advance(self, text: str | None, done: int, total: int | None) -> None:
        part = min(done / total, 1.0) if total else 0.0
        count = f"{done} of {total}{self._left(part)}" if total else ""
        description = None if text is None else printable_lines(text)
        self.progress.update(self.task, description=description, completed=self.clock.done(part), count=count)

    def _left(self, part: float) -> str:
        left = self.clock.seconds_left_in_stage(part)
        if left is None:
            return ""
        minutes, seconds = divmod(round(left), 60)
        return f", {minutes}:{seconds:02} left"


_bar: _Bar | None = None
_clock: WorkClock | None = None  # of the command that is in `working`
_speaking = False  # whether a command is in `working`


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
            part = min(self.done / self.total, 1.0) if self.total else 0.0
            left = _clock.seconds_left(part) if _clock else None
            line = json.dumps({"stage": self.stage, "done": self.done, "total": self.total, "seconds_left": left})
            with suppress(OSError), open(self.path, "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(line + "\n")
