"""What is wrong with the photos, in lines: first what left files out, then what is to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from handful.service.terminal.output import command_line

if TYPE_CHECKING:
    from handful.training.photos.sources import Problem

SHOWN = 20  # problems in the text of a training; --json and `check` list all
# kinds of problems by which no file is left out of those that lie below the labels
REMARKS = {
    *("near_duplicate", "near_duplicate_two_labels", "imbalance", "no_label", "empty_label", "similar", "one_label"),
    *("label_not_utf8", "few_other", "extra_folder", "unlabelled_part", "not_learned", "in_training"),
}


def problem_lines(problems: Sequence[Problem], skipped: int | None = None, most: int | None = None) -> list[str]:
    """What left files out, `skipped` in all, apart from remarks on files that were used; at most `most` of them."""
    left_out = [problem for problem in problems if problem.kind not in REMARKS]
    remarks = [problem for problem in problems if problem.kind in REMARKS]
    files = len(left_out) if skipped is None else skipped
    shown = left_out[:most]
    lines = [f"{files} {plural(files, 'file was', 'files were')} left out:", *_lines(shown)] if left_out else []
    if remarks:
        lines.append(f"{len(remarks)} {plural(len(remarks), 'thing', 'things')} to look at, with nothing left out:")
        lines += _lines(remarks[: None if most is None else max(0, most - len(shown))])
    return lines


def _lines(problems: Sequence[Problem]) -> list[str]:
    return [f"  {problem.path}: {problem.detail}" for problem in problems]


def first_problems(problems: Sequence[Problem], skipped: int, data: Path | None) -> list[str]:
    more = len(problems) - SHOWN
    rest = f"  and {more} more: `{command_line('check', data or 'FOLDER')}` lists all"
    return [*problem_lines(problems, skipped, SHOWN), *([rest] if more > 0 else [])]


def plural(count: int, one: str, several: str) -> str:
    return one if count == 1 else several
