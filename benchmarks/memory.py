"""The memory of classify while it runs over 100,000 small files."""

from __future__ import annotations

import subprocess
import sys
import time

import matplotlib.pyplot as plt
import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.sections import Section, judged, plot_path
from benchmarks.timing import short

SETTLED = 0.2  # share of the run after which torch and the thread pools are warm


def watch(command: list[str], bench: Bench) -> tuple[list[float], list[float]]:
    """Seconds and MB, sampled twice per second."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=bench.environ(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watched, times, sizes = psutil.Process(process.pid), [], []
    while process.poll() is None:
        times.append(time.perf_counter() - started)
        sizes.append(watched.memory_info().rss / 1e6)
        time.sleep(0.5)
    if process.returncode:
        raise RuntimeError(f"classify ended with status {process.returncode}")
    return times, sizes


def run(bench: Bench) -> Section:
    """Target: memory does not grow."""
    images = 5_000 if bench.quick else 100_000
    train, _ = photos.train_and_test(bench)
    bench.handful("train", train, "--name", "memory", "--backbone", "builtin-resnet")
    folder = photos.many(photos.tiny_photos(2_000), images, bench.scratch("memory"))
    out = bench.scratch("memory-out") / "rows.csv"
    words = ["-m", "handful", "classify", str(folder), "--out", str(out), "--model", "memory"]
    times, sizes = watch([sys.executable, *words], bench)
    early, late = sizes[int(SETTLED * len(sizes))], max(sizes[int(SETTLED * len(sizes)) :])
    figure, axes = plt.subplots(figsize=(7, 3.2))
    axes.plot(times, sizes)
    axes.set(xlabel="seconds", ylabel="resident memory, MB", ylim=(0, None), title=f"classify, {images:,} files")
    figure.tight_layout()
    figure.savefig(plot_path("memory", bench), dpi=100)
    plt.close(figure)
    grown = late - early
    text = (
        f"{images:,} files of 28 x 28 pixels (links to 2,000 different ones) with the built-in network:"
        f" {times[-1]:.0f} s, {short(images / times[-1])} images/s with start and loading; resident memory"
        f" {early:.0f} MB after a fifth of the run, at most {late:.0f} MB later.\n\n![memory](memory.png)"
    )
    target = judged(
        f"memory of classify on {images:,} images",
        "flat",
        f"{grown:+.0f} MB from a fifth of the run to the highest later",
        reached=grown < 0.1 * early,
        why="it grew; the first suspects are the set of names already written and the rows held back",
    )
    return Section(title="Memory", text=text, targets=[target])
