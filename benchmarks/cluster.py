"""Past one machine, on one: the same rows from one process, shards and Ray, whatever is killed; memory; and speeds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import machine, photos
from benchmarks.bench import CACHE, HERE, Bench
from benchmarks.sections import Section, judged
from benchmarks.timing import short, table

sys.path.append(str(HERE.parent / "tests"))

SHARDS, STORE_BYTES = 4, 150_000_000
FILES, QUICK_FILES = 100_000, 4_000  # while things are killed
ROWS, QUICK_ROWS = 1_000_000, 20_000  # of the manifest
REAL, QUICK_REAL = 4_000, 300  # photos of the usual size, for speeds
KILL_AT = {"actor": 0.15, "node": 0.35, "command": 0.6}  # shares of the rows written
LEVEL = 1.15  # times the memory of a tenth of the rows
RAY = ("--engine", "ray", "--actor-cpus", "1")


@dataclass
class Watched:
    """A command: its seconds, and the most memory of each kind of process below it, in MB."""

    seconds: float = 0.0
    memory: dict[str, float] = field(default_factory=dict)
    status: int = 0


def watch(
    bench: Bench, words: Sequence[str | Path], during: Callable[[], bool] | None = None, **environ: str
) -> Watched:
    """Runs handful; killed as soon as `during` says False."""
    began, seen = time.perf_counter(), Watched()
    command = [sys.executable, "-m", "handful", *map(str, words)]
    process = subprocess.Popen(
        command, env=bench.environ(**environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    complaints: list[str] = []
    threading.Thread(target=lambda: complaints.append(process.stderr.read() if process.stderr else "")).start()
    own = psutil.Process(process.pid)
    while process.poll() is None:
        for kind, some in (("command", [own]), ("actor", actors())):
            for each in some:
                with suppress(psutil.Error):
                    seen.memory[kind] = max(seen.memory.get(kind, 0.0), each.memory_info().rss / 1e6)
        if during and not during():
            process.kill()
        time.sleep(0.25)
    seen.seconds, seen.status = time.perf_counter() - began, process.returncode
    if seen.status not in {0, 1, -signal.SIGKILL}:
        raise RuntimeError(f"handful {' '.join(map(str, words))}: {''.join(complaints)[-400:]}")
    return seen


def actors() -> list[Any]:
    named = ((each, " ".join(each.info["cmdline"] or ())) for each in psutil.process_iter(["cmdline"]))
    return [each for each, name in named if "ray::" in name and "RayClassifier" in name]


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes with one core each, in their own processes on this machine."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    try:
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's


class Killer:
    """Called again and again while a command runs: it kills an actor, a node and at last the command, each once."""

    def __init__(self, cluster: Any, journal: Path, rows: int) -> None:
        self._cluster, self._journal, self._rows = cluster, journal, rows
        self.killed: list[str] = []

    def __call__(self) -> bool:
        share = self._written() / self._rows
        waiting = [what for what, at in KILL_AT.items() if share >= at and what not in self.killed]
        for what in waiting[:1]:
            if what == "command":
                self.killed.append(what)
                return False
            if self._kill(what):
                self.killed.append(what)
        return True

    def _written(self) -> int:
        if not self._journal.exists():
            return 0
        return self._journal.read_bytes().count(b"\n")

    def _kill(self, what: str) -> bool:
        if what == "node":
            self._cluster.remove_node(next(iter(self._cluster.worker_nodes)), allow_graceful=False)
            self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)  # as an operator would
            return True
        found = actors()
        for each in found[:1]:
            each.send_signal(signal.SIGKILL)
        return bool(found)


def run(bench: Bench) -> Section:
    """Targets: no row lost, none doubled, the same bytes; level memory."""
    train, _ = photos.train_and_test(bench)
    bench.handful("train", train, "--name", "real", "--backbone", "builtin")
    bench.handful("train", train, "--name", "tiny", "--backbone", str(_tiny_network()))
    kills, rows, words_of_kills = _kills(bench)
    memory, words_of_memory = _memory(bench)
    speeds = _speeds(bench, train)
    text = "\n\n".join(
        [
            "Two Ray nodes are two raylets on this machine, one core each: their cost is seen here, not their gain.",
            words_of_kills,
            words_of_memory,
            f"Speed, photos of {train.name} repeated, `builtin`, start to exit:\n\n{speeds}",
            machine.described().splitlines()[0].removeprefix("- ") + ".",
        ]
    )
    targets = [
        judged(
            f"{rows:,} files on two Ray nodes, an actor, a node and the command killed",
            "no row lost, none doubled, the bytes of one process",
            words_of_kills.partition(": ")[2].partition(".")[0],
            reached=kills,
            why="rows differ, see there",
        ),
        judged(
            "memory over a manifest ten times as long",
            f"at most {LEVEL} times",
            ", ".join(f"{name} {factor:.2f}" for name, factor in memory.items()),
            reached=max(memory.values()) <= LEVEL,
            why="something is kept for every row",
        ),
    ]
    return Section(title="Past one machine", text=text, targets=targets)


def _tiny_network() -> Path:
    """So that a million rows are about the rows, not about the network."""
    from tiny_networks import TINY, save_network  # of tests/

    folder = CACHE / "tiny-network"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(save_network(folder, TINY))


def _kills(bench: Bench) -> tuple[bool, int, str]:
    files = QUICK_FILES if bench.quick else FILES
    folder = photos.many(photos.tiny_photos(2_000), files, bench.scratch("kills"))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    out = bench.scratch("kills-out")
    local = watch(bench, ["classify", folder, "--model", "tiny", "--out", out / "local.parquet"])
    began = time.perf_counter()
    for part in range(1, SHARDS + 1):
        name = out / f"part-{part}.parquet"
        watch(bench, ["classify", folder, "--model", "tiny", "--shard", f"{part}/{SHARDS}", "--out", name])
    sharded = time.perf_counter() - began
    merged = watch(bench, ["merge", *sorted(out.glob("part-*.parquet")), "--out", out / "merged.parquet"])
    with two_nodes() as cluster:
        words: list[str | Path] = ["classify", folder, "--model", "tiny", "--out", out / "ray.parquet", "--resume"]
        words += RAY
        killer = Killer(cluster, out / "ray.parquet.partial", files + 1)
        first = watch(bench, words, killer, RAY_ADDRESS=cluster.address)
        second = watch(bench, words, RAY_ADDRESS=cluster.address)
    expected = _sorted(out / "local.parquet")
    same = {name: _sorted(out / f"{name}.parquet").equals(expected) for name in ("merged", "ray")}
    good = all(same.values()) and expected.num_rows == files + 1 and killer.killed == list(KILL_AT)
    said = "every row once and equal" if good else f"equal: {same}, killed: {killer.killed}"
    return (
        good,
        files,
        f"{files:,} small files and one broken: {said}. One process {local.seconds:.0f} s; {SHARDS} shards in turn"
        f" {sharded:.0f} s, and `merge` {merged.seconds:.1f} s and {merged.memory['command']:.0f} MB; Ray"
        f" {first.seconds:.0f} s until the command was killed (before it an actor and a node, which was replaced) and"
        f" {second.seconds:.0f} s after `--resume`.",
    )


def _sorted(path: Path) -> pa.Table:
    return pq.read_table(path).sort_by("path").combine_chunks()


def _memory(bench: Bench) -> tuple[dict[str, float], str]:
    rows = QUICK_ROWS if bench.quick else ROWS
    folder, out = bench.scratch("rows"), bench.scratch("rows-out")
    tiny = photos.tiny_photos(2_000)
    factors, lines = {}, []
    for name, more in (("one process", ()), ("Ray", RAY)):
        peaks = []
        for count in (rows // 10, rows):
            manifest = _manifest(tiny, count, folder)
            result = out / f"{name[:3]}-{count}.parquet"
            peaks.append(watch(bench, ["classify", manifest, "--model", "tiny", "--out", result, "--resume", *more]))
            if (found := pq.ParquetFile(result).metadata.num_rows) != count:
                raise RuntimeError(f"{name}: {found} rows of {count}")
        short_run, long_run = peaks
        for kind, most in long_run.memory.items():
            if kind in short_run.memory:
                factors[f"{name}, {kind}"] = most / short_run.memory[kind]
                lines.append([name, kind, f"{short_run.memory[kind]:.0f}", f"{most:.0f}", f"{long_run.seconds:.0f}"])
    heading = ["engine", "process", f"{rows // 10:,} rows, MB", f"{rows:,} rows, MB", "seconds of the latter"]
    return factors, f"A manifest of {rows:,} rows that name few files:\n\n{table(heading, lines)}"


def _manifest(files: list[Path], rows: int, folder: Path) -> Path:
    """Every row another path: links in a folder of thousands each."""
    path = folder / f"{rows}.csv"
    with path.open("w", encoding="utf-8") as out:
        out.write("path\n")
        for number in range(rows):
            link = folder / f"{number // 2000:04}" / f"{number:07}.png"
            if not link.is_symlink():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(files[number % len(files)].absolute())
            out.write(f"{link.relative_to(folder)}\n")
    return path


def _speeds(bench: Bench, train: Path) -> str:
    count = QUICK_REAL if bench.quick else REAL
    folder = photos.many(photos.files_below(train), count, bench.scratch("speeds"))
    out, rows = bench.scratch("speeds-out"), list[list[str]]()

    def measured(name: str, source: Path | str, *more: str, **environ: str) -> None:
        for _ in range(bench.long_repeats):
            path = out / f"{len(rows)}.parquet"
            path.unlink(missing_ok=True)
            seen = watch(bench, ["classify", source, "--model", "real", "--out", path, *more], None, **environ)
            rows.append([name, short(count / seen.seconds), f"{seen.seconds:.0f}"])

    measured("one process", folder)
    measured("one process, the folder as a file:// address", folder.absolute().as_uri())
    measured("Ray, started for it", folder, "--engine", "ray")
    with two_nodes() as cluster:
        measured("Ray, two nodes of one core", folder, *RAY, RAY_ADDRESS=cluster.address)
    with _object_store(folder) as (environ, limit):
        measured("one process, from an object store on loopback", "s3://photos/all", **environ)
        rows.append(["that store, read by as many threads and nothing else", short(limit), f"{count / limit:.0f}"])
    return table(["way", "photos a second", "seconds"], rows)


@contextmanager
def _object_store(folder: Path) -> Iterator[tuple[dict[str, str], float]]:
    """S3 by moto with the photos, and how many objects a second it gives to sixteen threads."""
    port_file = CACHE / "store.json"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.store", str(folder), str(port_file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # it logs every request
    try:
        while not port_file.exists():
            if process.poll() is not None:
                raise RuntimeError("the object store did not start")
            time.sleep(0.2)
        said = json.loads(port_file.read_text())
        yield said["environ"], said["limit"]
    finally:
        process.kill()
