"""What all commands share: output on stdout, exit statuses, flags, the check of `--out`."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

import click
from handful.service.artifact.errors import UsageError

EXIT_PROBLEMS = 1  # done, but the command reported problems
EXIT_WRONG_USE = 2  # wrong use, or unusable input

json_option = click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout.")
model_option = click.option(
    "--model", metavar="NAME[:VERSION]", help="The model; default: the only model, if there is just one."
)
tta_option = click.option(
    "--tta", is_flag=True, help="Average over ten views of each image (corners, centre, mirrored); 11 times slower."
)


def print_result(result: object, text: str, *, as_json: bool) -> None:
    """Prints the result as one JSON document, or the text for a person."""
    click.echo(json.dumps(result, ensure_ascii=False, indent=2) if as_json else text)


def check_out(out: Path, endings: Collection[str]) -> None:
    """Checks `--out` before any work; raises `UsageError` for another ending or a place that cannot be written."""
    if out.suffix.lower() not in endings:
        *others, last = endings
        allowed = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"--out ends in {out.suffix or 'nothing'!r}; {allowed} is allowed.")
    if not out.parent.is_dir() or out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out} cannot be written; it must be a file in an existing folder that you may write.")
