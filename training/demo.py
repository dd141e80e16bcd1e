"""The whole story on generated photos, offline: sample, check, train, classify.

Each step is the command a person would type, said before it runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from service.artifact.errors import HandfulError, UsageError

NAME = "demo"


def run_demo(folder: Path) -> dict[str, Any]:
    """Runs every step in `folder`; the result is `train`'s with `classified`, `classify`'s, beside it."""
    photos, out = folder / "photos", folder / "predictions.csv"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; a folder to work in is expected.")
    folder.mkdir(parents=True, exist_ok=True)
    if not photos.exists():
        _step("sample", str(photos))
    _step("check", str(photos), found_is_fine=True)
    trained = _step("train", str(photos), "--name", NAME, "--backbone", "builtin", found_is_fine=True)
    (folder / "predictions.csv.partial").unlink(missing_ok=True)
    classified = _step("classify", str(photos), "--out", str(out), "--model", NAME)
    return {**trained, "classified": classified}


def _step(*arguments: str, found_is_fine: bool = False) -> dict[str, Any]:
    """Runs `handful ARGUMENTS --json`, its progress on our stderr, and returns its document."""
    click.secho(f"$ handful {' '.join(arguments)}", err=True, bold=True)
    command = [sys.executable, "-m", "service", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own command
    if done.returncode not in ((0, 1) if found_is_fine else (0,)):
        raise HandfulError(f"`handful {arguments[0]}` ended with exit status {done.returncode}.")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
