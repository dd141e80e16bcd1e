"""What is already done of a fine-tuning, on disk: the same command run again goes on from there.

HANDFUL_HOME/cache/finetune/KEY/     one folder for data, backbone, settings and seed together
    NAME.pt                          a finished piece: epochs chosen in a fold, answers of a fold
    running.pt                       the run that is under way, as it was after an epoch
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from handful.training.finetune.distributed import Ranks
from torch import distributed

State = dict[str, Any]

RUNNING = "running"
SAVED_SECONDS = 5.0  # at most this much of a run is lost, and little of it is spent on saving
KEPT_SECONDS = 14 * 24 * 3600  # of a fine-tuning that nobody went on with
DAMAGED = (EOFError, KeyError, OSError, RuntimeError, UnpicklingError, ValueError)


class Checkpoints:
    """Only tensors and plain values are written, and nothing else is read. Process 0 does both for all."""

    def __init__(self, cache: Path, key: str, ranks: Ranks, saved_seconds: float = SAVED_SECONDS) -> None:
        self.folder, self.ranks, self._saved_seconds = cache / "finetune" / key, ranks, saved_seconds
        self._saved = time.monotonic()
        if ranks.first:
            _sweep(self.folder)

    def remember(self, name: str, compute: Callable[[], State]) -> State:
        """What was computed under this name before, or is now."""
        found = self._read(name)
        if found is None:
            found = compute()
            self._write(name, found)
            self._remove(RUNNING)
        return found

    def running(self, name: str) -> State | None:
        """The last saved state of the run of that name, if it is the one that was under way."""
        found = self._read(RUNNING)
        return found["state"] if found and found["name"] == name else None

    def save_running(self, name: str, state: Callable[[], State]) -> None:
        """After each epoch; written when the last time is some seconds ago."""
        if self.ranks.first and time.monotonic() - self._saved >= self._saved_seconds:
            self._write(RUNNING, {"name": name, "state": state()})
            self._saved = time.monotonic()

    def remove(self) -> None:
        if self.ranks.first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str) -> State | None:
        found: list[State | None] = [None]
        if self.ranks.first:
            with suppress(*DAMAGED):  # then it is computed again
                found = [torch.load(self.folder / f"{name}.pt", map_location="cpu", weights_only=True)]
        if self.ranks.size > 1:
            distributed.broadcast_object_list(found, 0)
        return found[0]

    def _write(self, name: str, state: State) -> None:
        if not self.ranks.first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.part"
        torch.save(state, part)
        part.replace(self.folder / f"{name}.pt")

    def _remove(self, name: str) -> None:
        if self.ranks.first:
            (self.folder / f"{name}.pt").unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Removes those beside it that nobody has touched for long."""
    with suppress(OSError):
        for other in folder.parent.iterdir():
            if other != folder and time.time() - other.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
