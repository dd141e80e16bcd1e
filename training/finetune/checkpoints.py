"""The finished parts of a fine-tuning, on disk: the same command run again continues from there.

HANDFUL_HOME/cache/finetune/KEY/     one folder per combination of data, backbone, settings and seed
    NAME.pt                          a finished part: the losses or the answers of a fold
    running.pt                       the run in progress, as it was after an epoch
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
from handful.service.artifact.atomic import private_folder
from handful.training.finetune.distributed import Ranks
from torch import distributed

State = dict[str, Any]

RUNNING = "running"
SAVE_EVERY_SECONDS = 5.0  # at most this much work is lost, and saving takes a small part of it
KEPT_SECONDS = 14 * 24 * 3600  # of a fine-tuning that was not continued
DAMAGED = (EOFError, KeyError, OSError, RuntimeError, UnpicklingError, ValueError)


class Checkpoints:
    """Only tensors and plain values are written or read. Process 0 does both and sends the others what it read."""

    def __init__(self, cache: Path, key: str, ranks: Ranks, save_every_seconds: float = SAVE_EVERY_SECONDS) -> None:
        self.folder, self.ranks, self._save_every_seconds = cache / "finetune" / key, ranks, save_every_seconds
        self._saved = time.monotonic()
        if ranks.first:
            _sweep(self.folder)

    def remember(self, name: str, compute: Callable[[], State]) -> State:
        """The saved result of this name; computed and saved where there is none."""
        state = self._read(name)
        if state is None:
            state = compute()
            self._write(name, state)
            self._remove(RUNNING)
        return state

    def running(self, name: str) -> State | None:
        """The last saved state of this run, or None if another run or none was in progress."""
        saved = self._read(RUNNING)
        return saved["state"] if saved and saved["name"] == name else None

    def save_running(self, name: str, state: Callable[[], State]) -> None:
        """Call it after each epoch; it writes only if the last save is some seconds ago."""
        if self.ranks.first and time.monotonic() - self._saved >= self._save_every_seconds:
            self._write(RUNNING, {"name": name, "state": state()})
            self._saved = time.monotonic()

    def remove(self) -> None:
        if self.ranks.first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str) -> State | None:
        state: list[State | None] = [None]
        if self.ranks.first:
            with suppress(*DAMAGED):  # a damaged part is computed again
                state = [torch.load(self.folder / f"{name}.pt", map_location="cpu", weights_only=True)]
        if self.ranks.size > 1:
            distributed.broadcast_object_list(state, 0)
        return state[0]

    def _write(self, name: str, state: State) -> None:
        if not self.ranks.first:
            return
        private_folder(self.folder)
        part = self.folder / f"{name}.part"
        torch.save(state, part)
        part.replace(self.folder / f"{name}.pt")

    def _remove(self, name: str) -> None:
        if self.ranks.first:
            (self.folder / f"{name}.pt").unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Removes the other fine-tunings' folders that have not changed for `KEPT_SECONDS`."""
    with suppress(OSError):
        for other in folder.parent.iterdir():
            if other != folder and time.time() - other.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
