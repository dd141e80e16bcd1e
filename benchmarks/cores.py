"""How `classify` would grow with cores that are not here: a model from parts that are measured on one and on two.

A photo is read, runs through the network, and is kept by Python. Reading and network run on all cores at once, but for
the share that holds the interpreter's lock, which one thread at a time has. That is a closed queueing network of one
station and a delay; its rate for N threads follows exactly from mean value analysis (Reiser and Lavenberg 1980). What
two cores lose that share more than a lock (two threads of one core, memory) is told apart by two processes, which share
no lock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.networks import backbone_folder
from benchmarks.sections import Section, judged
from benchmarks.timing import short, table

CORES = (2, 4, 8, 16, 32, 64)
WITHIN = 0.15  # of what is measured on two cores
PARTS = ("read", "network", "whole")
ROUNDS = 7

Rates = dict[str, float]  # photos a second of each part


@dataclass(frozen=True)
class Model:
    """Seconds of one photo on one core of which the others are as busy, and what holds the lock."""

    read: float
    network: float
    rest: float  # Python between them: all of it under the lock
    locked: float  # share of reading that holds the lock
    efficiency: float  # of two busy cores against twice one alone

    @classmethod
    def of(cls, one: Rates, two: Rates, pair: Rates) -> Model:
        """From one process on one core, one on two cores, and each of two at once that have a core each."""
        read, network = 1 / pair["read"], 1 / pair["network"]
        rest = max(0.0, 1 / pair["whole"] - read - network)
        return cls(read, network, rest, _locked_share(two["read"] * read), pair["whole"] / one["whole"])

    @property
    def under_lock(self) -> float:
        return self.read * self.locked + self.rest

    def rate(self, cores: int) -> float:
        """Photos a second."""
        return closed_rate(self.under_lock, self.read * (1 - self.locked) + self.network, cores)


def closed_rate(service: float, delay: float, customers: int) -> float:
    """Of one station with exponential service after a delay: mean value analysis."""
    waiting, rate = 0.0, 0.0
    for count in range(1, customers + 1):
        response = service * (1 + waiting)
        rate = count / (response + delay)
        waiting = rate * response
    return rate


def _locked_share(speedup: float) -> float:
    """The share under the lock that explains this speed-up of two threads; bisection, as it falls with the share."""
    low, high = 0.0, 1.0
    for _ in range(40):
        share = (low + high) / 2
        low, high = (share, high) if closed_rate(share, 1 - share, 2) > speedup else (low, share)
    return (low + high) / 2


def run(bench: Bench) -> Section:
    """Target: the model is right where it can be checked."""
    train, _ = photos.train_and_test(bench)
    names = ("builtin",) if bench.quick else ("builtin", "resnet34")
    rows, errors, parts = [], dict[str, float](), []
    for name in names:
        backbone: str | Path = name if name == "builtin" else backbone_folder(name)
        artifact = Path(bench.handful("train", train, "--name", f"cores-{name}", "--backbone", backbone)["path"])
        engine, one, two, pair = _measured(bench, artifact, train)
        model = Model.of(one, two, pair)
        errors[name] = model.rate(2) / two["whole"] - 1
        cost = (f"{1000 * part:.2f}" for part in (model.read, model.network, model.rest))
        parts.append([name, engine, *cost, f"{model.locked:.0%}", f"{model.efficiency:.0%}"])
        rows.append(
            [name, f"{one['whole']:.0f}", f"{two['whole']:.0f}", f"{2 * pair['whole']:.0f}"]
            + [short(model.rate(cores)) for cores in CORES]
            + [short(1 / model.under_lock)]
        )
    text = (
        "A prediction, made from parts that were measured on one and two cores of this machine with the benchmark's"
        " photos. It assumes that more cores are to each other as these two, that memory and disk keep up, and that"
        " each core runs its own batch."
        "\n\n"
        + table(
            [
                "network",
                "engine",
                "read, ms",
                "network, ms",
                "Python, ms",
                "of reading under the lock",
                "two busy cores against twice one",
            ],
            parts,
        )
        + "\n\nPhotos a second. Measured are one core, two, and two processes with a core each; the rest is predicted"
        " for one process. The lock alone sets the last column, and more processes (`--shard`, Ray with"
        " `--actor-cpus`) raise it:\n\n"
        + table(["network", "1", "2", "2 processes", *(f"{each}, predicted" for each in CORES), "any number"], rows)
    )
    target = judged(
        "the model of cores, on the two that are here",
        f"within {WITHIN:.0%}",
        ", ".join(f"{name} {error:+.0%}" for name, error in errors.items()),
        reached=max(map(abs, errors.values())) <= WITHIN,
        why="other work on the machine, or a part that the model leaves out",
    )
    return Section(title="With more cores", text=text, targets=[target])


class Process:
    """One that has the model and some of the cores, and measures a part when it is told to."""

    def __init__(self, bench: Bench, artifact: Path, folder: Path, places: str) -> None:
        command = [sys.executable, "-m", "benchmarks.parts", str(artifact), str(folder), places]
        self._process = subprocess.Popen(
            command, env=bench.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.rates: dict[str, list[float]] = {part: [] for part in PARTS}

    def answer(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("benchmarks.parts ended before it had measured")
        return json.loads(line)

    def begin(self, part: str) -> None:
        print(part, file=self._process.stdin)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def _measured(bench: Bench, artifact: Path, folder: Path) -> tuple[str, Rates, Rates, Rates]:
    """The engine; medians of photos a second of one core, of two, and of each of two processes with a core each.

    In turn, so that all see the machine alike; what is together begins together.
    """
    first, second, both = (Process(bench, artifact, folder, places) for places in ("0", "1", "0,1"))
    try:
        engine, *_ = [process.answer() for process in (first, second, both)]
        alone: dict[str, list[float]] = {part: [] for part in PARTS}
        for _ in range(1 if bench.quick else ROUNDS):
            for part in PARTS:
                first.begin(part)
                alone[part].append(first.answer())
                both.begin(part)
                both.rates[part].append(both.answer())
                for process in (first, second):
                    process.begin(part)
                for process in (first, second):
                    process.rates[part].append(process.answer())
    finally:
        for process in (first, second, both):
            process.end()
    pair = {part: (median(first.rates[part]) + median(second.rates[part])) / 2 for part in PARTS}
    one, two = ({part: median(each) for part, each in rates.items()} for rates in (alone, both.rates))
    return engine, one, two, pair
