"""The time until a command responds."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.sections import Section, judged
from benchmarks.serving import handful_server
from benchmarks.timing import alternate, seconds_of, table


def process(bench: Bench, *words: str) -> float:
    """Seconds from the start of a process to its end."""
    command = [sys.executable, *words]
    return seconds_of(lambda: subprocess.run(command, env=bench.environ(), capture_output=True, check=True))


def serve_ready(bench: Bench) -> float:
    server = handful_server(bench, "startup")
    server.stop()
    return server.ready_seconds


def run(bench: Bench) -> Section:
    """Targets: --help under 0.5 s, serve ready under 8 s."""
    train, test = photos.train_and_test(bench)
    bench.handful("train", train, "--name", "startup", "--backbone", "builtin-resnet")
    one = photos.many(photos.files_below(test)[:1], 1, bench.scratch("one"))
    out = str(bench.scratch("one-out") / "rows.csv")
    commands = {
        "python -c 'import torch'": partial(process, bench, "-c", "import torch"),
        "python -c 'import timm'": partial(process, bench, "-c", "import timm"),
        "handful --help": partial(process, bench, "-m", "handful", "--help"),
        "handful classify, one image": partial(
            process, bench, "-m", "handful", "classify", str(one), "--out", out, "--model", "startup"
        ),
        "handful serve until ready": partial(serve_ready, bench),
    }
    seconds = alternate(commands, max(2, bench.repeats))
    ready, help_seconds = seconds["handful serve until ready"].median, seconds["handful --help"].median
    targets = [
        judged("serve to ready", "under 8 s", f"{ready:.1f} s", reached=ready < 8, why="torch, timm, bentoml: imports"),
        judged(
            "handful --help",
            "under 0.5 s",
            f"{help_seconds:.2f} s",
            reached=help_seconds < 0.5,
            why="click and the entry points",
        ),
    ]
    text = table(["command", "seconds, process start to end"], [[name, each] for name, each in seconds.items()])
    return Section(title="Starting", text=text, targets=targets)
