"""The setting of a run: photos, scratch folders, and ways to start handful and its peers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
PEERS = HERE / ".envs/peers"


class PeerFailed(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Bench:
    """The settings of one run."""

    photos_given: Path | None
    quick: bool
    device: str | None = None  # cpu: processes see no GPU; None: whatever is there
    seconds: float = 430.0  # of the GPU benchmark, start to end
    most_seconds: float | None = None  # of everywhere; None: until all photos are answered

    @property
    def repeats(self) -> int:
        return 1 if self.quick else 3

    @property
    def long_repeats(self) -> int:
        """Repeats of measurements that take about a minute each."""
        return 1 if self.quick else 2

    @cached_property
    def home(self) -> Path:
        """The run's own HANDFUL_HOME, empty at its start."""
        home = CACHE / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        return home

    def scratch(self, name: str) -> Path:
        """An empty folder."""
        folder = CACHE / "scratch" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def handful(self, *arguments: str | Path, **environ: str) -> Any:
        """The JSON document that a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "handful", *map(str, arguments), "--json"],
            env=self.environ(**environ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in {0, 1}:
            raise RuntimeError(f"handful {' '.join(map(str, arguments))}: {done.stderr.strip()[-400:]}")
        return json.loads(done.stdout)

    def peer(self, script: str, *arguments: str | Path) -> dict[str, Any]:
        """The JSON in the last line that a peer prints; raises `PeerFailed`."""
        done = subprocess.run(
            self.peer_command(script, *arguments), env=self.environ(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no output")
            raise PeerFailed(f"{script} ended with status {done.returncode}: {last.strip()[:200]}")
        values: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return values

    def peer_command(self, script: str, *arguments: str | Path) -> list[str]:
        python = PEERS / "bin/python"
        if not python.exists():
            raise PeerFailed("the peers are not installed here: make bench installs them")
        return [str(python), str(HERE / "peers" / f"{script}.py"), *map(str, arguments)]

    def environ(self, **more: str) -> dict[str, str]:
        unusual = ("HANDFUL_", "OMP_", "PYTHONDONTWRITEBYTECODE")  # an installation has its modules compiled
        kept = {k: v for k, v in os.environ.items() if not k.startswith(unusual)}
        quiet = {"HF_HUB_OFFLINE": "1", "YOLO_CONFIG_DIR": str(CACHE), "MPLCONFIGDIR": str(CACHE), "DO_NOT_TRACK": "1"}
        unseen = {"CUDA_VISIBLE_DEVICES": ""} if self.device == "cpu" else {}
        return {**kept, **quiet, **unseen, "HANDFUL_HOME": str(self.home), **more}
