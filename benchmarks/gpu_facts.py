"""What the GPU benchmark's processes tell its first one: a JSON line for each fact, as soon as it is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

Fact = dict[str, Any]
ROOT = Path(__file__).parent.parent


class Child:
    """One process's side: what it may use, and where it says what it finds."""

    def __init__(self, device: str, seconds: float, *, quick: bool) -> None:
        self.device, self.quick = torch.device(device), quick
        self.until = time.perf_counter() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.perf_counter()

    def say(self, kind: str, **values: object) -> None:
        print(json.dumps({"kind": kind, **values}), flush=True)

    def guarded(self, what: str, run: Callable[[], object]) -> None:
        """A failure is told and the next part runs; what there is no time for is told as well."""
        if self.left <= 0:
            self.say("left out", what=what)
            return
        try:
            run()
        except Exception as e:  # noqa: BLE001 - the other measurements are still worth their time
            self.say("failed", what=what, error=f"{type(e).__name__}: {' '.join(str(e).split())[:300]}")


def child(kinds: Mapping[str, Callable[[Child], None]]) -> None:
    """`KIND DEVICE SECONDS [quick]`."""
    kind, device, seconds, *quick = sys.argv[1:]
    report = Child(device, float(seconds), quick=bool(quick))
    report.guarded(kind, lambda: kinds[kind](report))


def facts(words: list[str], environ: dict[str, str], seconds: float, log: Path) -> list[Fact]:
    """What a process said until it ended or its time was over; its last words too where it failed."""
    lines: list[str] = []
    with log.open("w+b") as err:
        process = subprocess.Popen(
            words, env=environ, stdout=subprocess.PIPE, stderr=err, cwd=ROOT, text=True, start_new_session=True
        )
        reading = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
        reading.start()
        status, why = _ended(process, max(1.0, seconds))
        reading.join(2)  # not for ever: a compiler's own processes may hold the pipe
        err.seek(0)
        last = err.read().decode(errors="replace").strip().splitlines()[-1:]
    found: list[Fact] = [json.loads(line) for line in list(lines) if line.startswith("{") and line.endswith("}\n")]
    if status:
        what, error = f"{words[2]} {words[3]}", why or " ".join(last)[:300]
        found.append({"kind": "failed", "what": what, "error": f"status {status}: {error}"})
    return found


def _ended(process: subprocess.Popen[str], seconds: float) -> tuple[int, str]:
    """Its status; what it started ends with it where its time is over."""
    try:
        return process.wait(seconds), ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait(), f"it was ended after {seconds:.0f} s"
