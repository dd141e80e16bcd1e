"""What a command shows of its progress: words at once, one bar on a terminal, lines for another program."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from handful.service.terminal.progress import LEARNING, LOOKING, STARTING, WorkClock, next_stage, progress_bar, working

CODE = """
import sys
from handful.service.terminal.progress import LEARNING, LOOKING, STARTING
from handful.service.terminal.progress import next_stage, note, paused, progress_bar, working
with working("Learning.", {STARTING: 1, LOOKING: 8, LEARNING: 2}):
    with progress_bar(LOOKING, 4) as advance:
        for _ in range(4):
            advance(1)
    note("a line that stays")
    with paused():
        print("a bar of somebody else", file=sys.stderr)
    next_stage(LEARNING)
    next_stage("a stage that was not announced")
print("the result")
"""


def on_terminal(**environment: str) -> str:
    """What the code writes to a terminal."""
    own, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment},
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    with suppress(OSError):  # Linux' way to say that the other side has closed
        while part := os.read(own, 4096):
            written += part
    os.close(own)
    assert process.wait() == 0, written.decode()
    return written.decode()


def plain(text: str) -> list[str]:
    """Every state of every line, without control sequences."""
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part).rstrip() for part in re.split(r"[\r\n]+|\x1b\[2K", text)]


def test_a_terminal_shows_one_bar_over_all_stages_that_leaves_nothing_behind() -> None:
    written = on_terminal()
    states = plain(written)
    assert states[0] == "Learning."
    assert all(len(state) <= 80 for state in states)
    assert any("a stage that was not announced" in state for state in states)
    assert "a line that stays" in states
    assert "a bar of somebody else" in states
    end = written[written.rindex("a stage that was not announced") :]
    assert plain(end)[-2:] == ["the result", ""]
    assert "\x1b[?25h" in end  # the cursor is back


def test_without_colour_there_is_none() -> None:
    assert not re.search(r"\x1b\[(3[0-7]|9[0-7])m", on_terminal(NO_COLOR="1"))


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"RANK": "1"}])
def test_a_dumb_terminal_gets_no_bar_and_a_second_process_says_nothing(environment: dict[str, str]) -> None:
    states = [state for state in plain(on_terminal(**environment)) if state]
    words = [] if "RANK" in environment else ["Learning."]
    assert states == [*words, "a bar of somebody else", "the result"]


def test_a_pipe_gets_the_first_words_alone() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stderr == "Learning.\na bar of somebody else\n"
    assert done.stdout == "the result\n"


def test_another_program_gets_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_PROGRESS", str(tmp_path / "progress"))
    with working("Learning.", {STARTING: 1}):
        with progress_bar(LOOKING, 3) as advance:
            advance(2, fewer=1)
        next_stage(LEARNING)
    lines = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert lines == [
        {"stage": LOOKING, "done": 0, "total": 3, "seconds_left": None},
        {"stage": LOOKING, "done": 2, "total": 2, "seconds_left": None},
        {"stage": LEARNING, "done": 0, "total": None, "seconds_left": None},
    ]


def test_the_time_left_follows_the_shares_and_the_pace_of_the_present_stage() -> None:
    clock = WorkClock({STARTING: 2, LOOKING: 6, LEARNING: 2})
    clock.begin(LOOKING)
    assert clock.seconds_left(0.5) is None  # too early for a guess
    clock.started -= 100
    clock.stage_started -= 60
    left = clock.seconds_left(0.5)  # half of the stage took 60 s, half of the whole 100 s
    assert left is not None
    assert left == pytest.approx(60 + 2 * 100 / 5, abs=2)
    clock.begin(LEARNING)
    assert clock.seconds_left(0) == pytest.approx(2 * 100 / 8, abs=2)
    clock.before = clock.whole
    assert clock.seconds_left(0) is None
