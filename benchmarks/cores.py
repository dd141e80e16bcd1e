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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.networks import backbone_folder
from benchmarks.sections import Section, judged
from benchmarks.timing import short, table

CORES = (2, 4, 8, 16, 32, 64)
WITHIN = 0.15  # of what is measured on two cores
RATES = ("read", "network", "whole")


Parts = dict[str, float]  # photos a second of each part


@dataclass(frozen=True)
class Model:
    """Seconds of one photo on one core of which the others are as busy, and what holds the lock."""

    read: float
    network: float
    rest: float  # Python between them: all of it under the lock
    locked: float  # share of reading that holds the lock
    efficiency: float  # of two busy cores against twice one alone

    @classmethod
    def of(cls, one: Parts, two: Parts, pair: Parts) -> Model:
        """From one process on one core, one on two cores, and each of two that have a core each."""
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
        (one,), (two,) = (_parts(bench, artifact, train, cores) for cores in (["0"], ["0,1"]))
        first, second = _parts(bench, artifact, train, ["0", "1"])
        model = Model.of(one, two, {part: (first[part] + second[part]) / 2 for part in RATES})
        errors[name] = model.rate(2) / two["whole"] - 1
        cost = (f"{1000 * part:.2f}" for part in (model.read, model.network, model.rest))
        parts.append([name, one["engine"], *cost, f"{model.locked:.0%}", f"{model.efficiency:.0%}"])
        rows.append(
            [name, f"{one['whole']:.0f}", f"{two['whole']:.0f}", f"{first['whole'] + second['whole']:.0f}"]
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


def _parts(bench: Bench, artifact: Path, folder: Path, places: Sequence[str]) -> list[Parts]:
    """Of processes that run at the same time, each on its cores."""
    command = [sys.executable, "-m", "benchmarks.parts", str(artifact), str(folder)]
    running = [
        subprocess.Popen(
            [*command, each], env=bench.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for each in places
    ]
    parts: list[Parts] = []
    for process in running:
        out, err = process.communicate()
        if process.returncode:
            raise RuntimeError(err.strip()[-400:])
        parts.append(json.loads(out.splitlines()[-1]))
    return parts
