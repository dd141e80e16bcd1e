"""What one photo costs, part by part, on some of the cores: python -m benchmarks.parts ARTIFACT FOLDER 0,1

Says its engine when it is ready, and for each line, `read`, `network` or `whole`, measures that part once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SECONDS = 1.5


def main() -> None:
    """Prints photos a second: read only, computed only, or classified as a whole."""
    artifact, folder = Path(sys.argv[1]), Path(sys.argv[2])
    allowed, places = sorted(os.sched_getaffinity(0)), [int(each) for each in sys.argv[3].split(",")]
    os.sched_setaffinity(0, [allowed[place] for place in places])
    cores = len(places)
    import torch
    from handful.service.classifier import Classifier
    from handful.service.compute.pipeline import _limit_cores

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    classifier = Classifier.load(artifact)
    classifier.choose_fastest_for(None)
    network = classifier.network
    batch = torch.stack([classifier.read(file) for file in files[: network.batch]])
    pool = ThreadPoolExecutor(cores, initializer=_limit_cores, initargs=(1,))
    contenders: dict[str, Callable[[], int]] = {
        "read": lambda: sum(
            pool.map(lambda some: _read(classifier.read, some), [files[n::cores] for n in range(cores)])
        ),
        "network": lambda: sum(pool.map(lambda _: len(network.embed(batch)), range(2 * cores))),
        "whole": lambda: sum(1 for _ in classifier.classify(iter(files))),
    }
    for run in contenders.values():
        run()
    print(json.dumps(classifier.engine_label), flush=True)
    for line in sys.stdin:
        print(json.dumps(_per_second(contenders[line.strip()])), flush=True)


def _read(read: Callable[[Path], object], files: Sequence[Path]) -> int:
    for file in files:
        read(file)
    return len(files)


def _per_second(run: Callable[[], int]) -> float:
    began, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < SECONDS or not done:
        done += run()
    return done / passed


if __name__ == "__main__":
    main()
