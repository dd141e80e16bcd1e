"""One NVIDIA GPU: networks in every engine, photos, training, serving. Skipped, and said so, where there is none.

Each part is a process of its own with a limit on its time, so that one that fails or hangs costs the others nothing;
what is known is printed, and written to the folder $OUT where that is set, after every part.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from handful.service.compute.device import cpu_count

from benchmarks import photos, serving
from benchmarks.bench import CACHE, HERE, Bench
from benchmarks.gpu_facts import Fact, facts
from benchmarks.machine import busy
from benchmarks.networks import backbone_folder
from benchmarks.sections import Section, Target, judged
from benchmarks.timing import short, table

TITLE = "One GPU"
TARGETS = (
    ("one GPU: ResNet-50 in bfloat16, decoded input", "12,000 images/s"),
    ("one GPU: end to end from JPEG", "90 % of the slower of decoding and network"),
    ("one GPU: training 160 photos", "under 2 s"),
)
UNMEASURED = (
    "No CUDA device was there, so nothing of this part was ever run for this page."
    " `python -m benchmarks gpu --device cpu --quick` tries all of it on a CPU, in small."
)
CLIENTS = (1, 8, 32)
KEPT = HERE / "gpu.json"  # the last run on a GPU, for the page of a machine without one


def run(bench: Bench) -> Section:
    """Targets: ResNet-50 in bf16 over 12,000 images a second; from JPEG 90 % of what bounds it; training under 2 s."""
    if bench.device is None and not torch.cuda.is_available():
        if KEPT.exists():
            return Section.model_validate_json(KEPT.read_text(encoding="utf-8"))
        return Section(title=TITLE, text=UNMEASURED, targets=_unmeasured())
    section = Session(bench).section()
    if bench.device != "cpu" and not bench.quick:
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {busy()} before"
        section = section.model_copy(update={"measured_at": when, "seconds": bench.seconds})
        KEPT.write_text(section.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return section


def _unmeasured() -> list[Target]:
    why = "no GPU was at hand; python -m benchmarks gpu measures it"
    return [Target(what=what, target=target, measured="never run", reached=None, why=why) for what, target in TARGETS]


@dataclass
class Session:
    """All parts in turn, and what is known so far."""

    bench: Bench
    found: list[Fact] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @property
    def device(self) -> str:
        return "cpu" if self.bench.device == "cpu" else "cuda"

    @property
    def small(self) -> bool:
        """A CPU is only tried on."""
        return self.bench.quick or self.device == "cpu"

    @property
    def left(self) -> float:
        return self.bench.seconds - (time.perf_counter() - self.began)

    def section(self) -> Section:
        """The parts, the most wanted first; each with the most seconds that it may take."""
        parts: tuple[tuple[str, float, Callable[[float], None]], ...] = (
            ("prepare", 90, self.prepare),
            ("engines", 100, partial(self.process, "gpu_engines", "heuristics")),
            ("engine chosen", 45, partial(self.process, "gpu_engines", "chosen")),
            ("training", 75, self.training),
            ("photos", 70, partial(self.process, "gpu_photos", "jpeg")),
            ("serving", 60, self.serving),
            ("cuDNN's search", 45, partial(self.process, "gpu_engines", "tuned")),
            ("compiled", 90, partial(self.process, "gpu_engines", "compiled")),
            ("training, warm", 35, partial(self.process, "gpu_photos", "warm")),
            ("classify", 35, self.classify),
            ("fine-tuning", 45, self.finetuning),
            ("max-autotune", 90, partial(self.process, "gpu_engines", "autotuned")),
        )
        for name, most, part in parts:
            self.part(name, most, part)
        return self.write()

    def part(self, name: str, most: float, run: Callable[[float], None]) -> None:
        seconds = min(2 * most if self.small else most, self.left)
        started = time.perf_counter()
        if seconds < 8:
            self.say("left out", what=name)
        else:
            try:
                run(seconds)
            except Exception as e:  # noqa: BLE001 - the other parts are still worth their time
                self.say("failed", what=name, error=_in_short(e))
        took = time.perf_counter() - started
        self.say("part", what=name, seconds=took)
        print(f"{name}: {took:.0f} s, {self.left:.0f} s left", flush=True)
        for fact in self.found:
            if fact["kind"] == "failed" and not fact.get("told"):
                fact["told"] = True
                print(f"  failed: {fact['what']}: {fact['error']}", flush=True)
        self.write()

    def write(self) -> Section:
        """What is known, as a section; into $OUT as the facts, the page and the section."""
        section = Section(title=TITLE, text=text(self.found, self.device), targets=targets(self.found))
        if out := os.environ.get("OUT"):
            folder = Path(out)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "facts.json").write_text(json.dumps(self.found, indent=0))
            (folder / "gpu.md").write_text(section.text)
            (folder / "gpu.json").write_text(section.model_dump_json(indent=1))
        return section

    def say(self, kind: str, **values: object) -> None:
        self.found.append({"kind": kind, **values})

    def process(self, module: str, kind: str, seconds: float) -> None:
        """A kind of measurement in a process of its own."""
        words = [sys.executable, "-m", f"benchmarks.{module}", kind, self.device, str(max(5.0, seconds - 8))]
        words += ["quick"] * self.small
        self.found += facts(words, self.bench.environ(), seconds, CACHE / f"gpu-{kind}.log")

    def handful(self, *words: str | Path, seconds: float) -> Any:
        """The JSON document of a command that is ended when its time is over."""
        done = subprocess.run(
            [sys.executable, "-m", "handful", *map(str, words), "--json"],
            env=self.bench.environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=max(5.0, seconds),
        )
        if done.returncode not in {0, 1}:
            raise RuntimeError(f"handful {words[0]}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)

    def prepare(self, _: float) -> None:
        """Photos and networks, before anything is timed."""
        with ThreadPoolExecutor() as pool:
            phone = pool.submit(photos.phone_photos, 2 if self.small else 6)
            made = [pool.submit(backbone_folder, name) for name in ("resnet34", "resnet50")]
            photos.train_and_test(self.bench)
            files = [*phone.result(), *photos.files_below(serving.jpegs(self.bench))]
            for each in made:
                each.result()
        for folder, chosen in (("phone", files[: len(phone.result())]), ("jpegs", files[len(phone.result()) :])):
            target = CACHE / "gpu-photos" / folder
            shutil.rmtree(target, ignore_errors=True)
            for file in chosen:
                photos.place(file, target / file.name)
        name = torch.cuda.get_device_name() if self.device == "cuda" else "a CPU, in small"
        self.say("machine", name=name, torch=torch.__version__, cores=cpu_count())

    def training(self, seconds: float) -> None:
        """`handful train` in a process of its own, nothing cached."""
        until = time.perf_counter() + seconds
        # the last of each is also what is served
        for network in ("builtin-resnet",) if self.small else ("builtin-resnet", "resnet34", "resnet34", "resnet50"):
            shutil.rmtree(self.bench.home / "cache", ignore_errors=True)
            backbone = network if network == "builtin-resnet" else backbone_folder(network)
            started = time.perf_counter()
            left = until - started
            answer = self.handful("train", CACHE / "train", "--name", network, "--backbone", backbone, seconds=left)
            wall = time.perf_counter() - started
            self.say("train", network=network, way="command", wall=wall, **answer["seconds"])

    def served_networks(self) -> Sequence[str]:
        trained = self.bench.home / "models"
        return [n for n in ("resnet34", "resnet50", "builtin-resnet") if (trained / n).exists()][
            : 1 if self.small else 2
        ]

    def serving(self, seconds: float) -> None:
        """`handful serve` on the device under load, the clients on the same cores."""
        until = time.perf_counter() + seconds
        folder = serving.jpegs(self.bench)
        for network in self.served_networks():
            if until - time.perf_counter() < 25:
                self.say("left out", what=f"serving {network}")
                continue
            with serving.running(serving.handful_server(self.bench, network)) as server:
                serving.load(server.port, 8, 1.0, folder)
                for clients in CLIENTS:
                    answer = serving.load(server.port, clients, 1.0 if self.small else 2.5, folder)
                    self.say("serve", network=network, clients=clients, ready=server.ready_seconds, **answer)

    def classify(self, seconds: float) -> None:
        """`handful classify` over a folder, start and loading not counted."""
        name = self.served_networks()[-1]
        for what, folder, images in (("photos", "jpegs", 8192), ("12-megapixel photos", "phone", 256)):
            files = photos.files_below(CACHE / "gpu-photos" / folder)
            many = photos.many(files, 16 if self.small else images, self.bench.scratch(f"gpu-{folder}"))
            out = self.bench.scratch("gpu-out") / "rows.csv"
            answer = self.handful("classify", many, "--out", out, "--model", name, seconds=seconds / 2)
            rate = answer["images"] / answer["seconds"]
            self.say("classify", network=name, set=what, engine=answer["engine"], rate=rate)

    def finetuning(self, seconds: float) -> None:
        network = "builtin-resnet" if self.small else "resnet34"
        backbone = network if network == "builtin-resnet" else backbone_folder(network)
        words = ("train", CACHE / "train", "--name", "tuned", "--backbone", backbone, "--finetune-epochs", "2")
        answer = self.handful(*words, seconds=seconds)
        self.say("train", network=network, way="--finetune-epochs 2", **answer["seconds"])


def _in_short(error: Exception) -> str:
    """Without the command, whose paths are this machine's."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it was ended after {error.timeout:.0f} s"
    return f"{type(error).__name__}: {error}"[:400]


def of(found: Sequence[Fact], kind: str, **values: object) -> list[Fact]:
    return [f for f in found if f["kind"] == kind and all(f.get(k) == v for k, v in values.items())]


def text(found: Sequence[Fact], device: str) -> str:
    """The page."""
    parts = [_head(found, device)]
    networks = list(dict.fromkeys(f["network"] for f in of(found, "rate")))
    if networks:
        parts.append(_best(found, networks))
        parts += [_network(found, name) for name in networks]
    parts += [_chosen(found), _compiling(found), _jpeg(found), _training(found), _serving(found), _missing(found)]
    return "\n\n".join(part for part in parts if part)


def _head(found: Sequence[Fact], device: str) -> str:
    machine = "; ".join(f"{f['name']}, {f['cores']} cores, PyTorch {f['torch']}" for f in of(found, "machine"))
    limits = {f["what"]: f["value"] for f in of(found, "limit")}
    said = [f"{machine or device}."]
    if device == "cpu":
        said.append(
            "No CUDA graph, pinned memory or nvJPEG is tried there; torchvision's decoder stands in for nvJPEG."
        )
    if "operations" in limits:
        said.append(f"Matrix products in bfloat16: {limits['operations'] / 1e12:,.1f} TFLOP/s.")
    said += [f"{what}: {limits[what] / 1e9:,.1f} GB/s." for what in limits if what != "operations"]
    return " ".join(said).replace("bytes:", "Copy on the device, read and written:")


def limit(found: Sequence[Fact], network: str, batch: int) -> dict[str, float]:
    """Images a second that the matrix rate, the memory's bandwidth and both together, layer by layer, allow."""
    limits = {f["what"]: f["value"] for f in of(found, "limit")}
    layers: list[tuple[int, int, int]] = next((f["layers"] for f in of(found, "work", network=network)), [])
    if not layers or not {"operations", "bytes"} <= set(limits):
        return {}
    operations = [batch * ops / limits["operations"] for ops, _, _ in layers]
    moved = [(batch * bytes_each + weights) / limits["bytes"] for _, bytes_each, weights in layers]
    both = sum(map(max, operations, moved))
    return {"operations": batch / sum(operations), "bytes": batch / sum(moved), "layers": batch / both}


def _best(found: Sequence[Fact], networks: Sequence[str]) -> str:
    rows = []
    for name in networks:
        for batch in sorted({f["batch"] for f in of(found, "rate", network=name)}):
            best = max(of(found, "rate", network=name, batch=batch), key=lambda f: float(f["rate"]))
            now = next(iter(of(found, "rate", network=name, batch=batch, way="folded")), None)
            allowed = limit(found, name, batch)
            shares = [f"{best['rate'] / allowed[k]:.0%}" for k in ("operations", "bytes", "layers") if allowed]
            gain = f"{best['rate'] / now['rate']:.2f}" if now else ""
            rows.append([name, batch, best["way"], short(best["rate"]), gain, *(shares or [""] * 3)])
    head = ["network", "batch", "fastest way", "images/s", "times folded", "of the matrix rate", "of the bandwidth"]
    return (
        "The fastest way for each network and batch. The bytes are the least: each convolution's input and output in"
        " bfloat16 once, and its weights once a batch. The last column is the share of what both limits allow when each"
        " layer is held to the stricter one.\n\n" + table([*head, "of both, layer by layer"], rows)
    )


def _network(found: Sequence[Fact], network: str) -> str:
    """Rates, then waits and errors."""
    rates = of(found, "rate", network=network)
    batches = sorted({f["batch"] for f in rates})
    off = {f["way"]: f["off"] for f in [*rates, *of(found, "off", network=network)] if "off" in f}
    rows = []
    for way in dict.fromkeys(f["way"] for f in rates):
        mine = {f["batch"]: f for f in rates if f["way"] == way}
        cells = [short(mine[b]["rate"]) if b in mine else "" for b in batches]
        wait = next((f"{f['wait_ms']:.2f}" for f in mine.values() if f["batch"] == 1), "")
        rows.append([way, *cells, wait, f"{off[way]:.2%}" if way in off else ""])
    head = ["way", *(f"batch {b}" for b in batches), "one image, waited for, ms", "off float32 by at most"]
    return f"{network}, images/s; errors are shares of the largest embedding value:\n\n" + table(head, rows)


def _chosen(found: Sequence[Fact]) -> str:
    told = of(found, "chosen")
    engines = list(dict.fromkeys(name for f in told for name in f["rates"]))
    rows = []
    for f in told:
        rates = [short(f["rates"][name]) if f["rates"].get(name) else "" for name in engines]
        rows.append([f["network"], f["batch"], f["engine"], *rates, f"{f['seconds']:.1f}"])
    head = ["network", "batch", "chosen", *engines, "both batches timed in, s"]
    return "The engine that handful chooses by timing, images/s:\n\n" + table(head, rows) if rows else ""


def _compiling(found: Sequence[Fact]) -> str:
    rows = [[f["network"], f["batch"], f["way"], f"{f['seconds']:.1f}"] for f in of(found, "compiling")]
    rows += [[f["network"], f["batch"], "cuDNN's search", f"{f['seconds']:.1f}"] for f in of(found, "tuning")]
    return "Seconds before the first answer:\n\n" + table(["network", "batch", "what", "s"], rows) if rows else ""


def _jpeg(found: Sequence[Fact]) -> str:
    network = next((f["network"] for f in of(found, "jpeg network")), "")
    rows = [[f["set"], f["what"], short(f["rate"])] for f in of(found, "jpeg")]
    rows += [
        [f["set"], f"handful classify, {f['network']}, {f['engine']}", short(f["rate"])] for f in of(found, "classify")
    ]
    if not rows:
        return ""
    off = [
        f"nvJPEG's and the GPU's resizing give other pixels than Pillow ({f['set']}): by {f['mean']:.2f} of 255 on"
        f" average, {f['most']:.0f} at most."
        for f in of(found, "jpeg off")
    ]
    return "\n\n".join([f"From JPEG, with {network}:\n\n" + table(["input", "what", "images/s"], rows), *off])


def _training(found: Sequence[Fact]) -> str:
    names = ("wall", "embed", "fit", "finetune", "total")
    rows = [
        [f["network"], f["way"], *(f"{f[name]:.2f}" if name in f else "" for name in names)] for f in of(found, "train")
    ]
    head = ["network", "way", "process or call", "embed", "fit", "fine-tune", "total"]
    return "Training on 160 photos, seconds:\n\n" + table(head, rows) if rows else ""


def _serving(found: Sequence[Fact]) -> str:
    rows = [
        [f["network"], f["clients"], short(f["rate"]), short(f["p50"]), short(f["p99"]), f["wrong"], short(f["ready"])]
        for f in of(found, "serve")
    ]
    head = ["network", "clients", "requests/s", "p50 ms", "p99 ms", "errors", "ready after, s"]
    return "`handful serve`, the load client on the same cores:\n\n" + table(head, rows) if rows else ""


def _missing(found: Sequence[Fact]) -> str:
    failed = [f"{f['what']} failed: {f['error']}." for f in of(found, "failed")]
    left_out = ", ".join(f["what"] for f in of(found, "left out"))
    took = ", ".join(f"{f['what']} {f['seconds']:.0f}" for f in of(found, "part"))
    return "\n\n".join([*failed, *([f"No time was left for: {left_out}."] if left_out else []), f"Seconds: {took}."])


def targets(found: Sequence[Fact]) -> list[Target]:
    """What was not measured is said to be so."""
    fast, whole, soon = _unmeasured()
    if rates := of(found, "rate", network="resnet50"):
        best = max(rates, key=lambda f: float(f["rate"]))
        measured = f"{short(best['rate'])}: {best['way']}, batch {best['batch']}"
        why = "the tables say which way was fastest, and how near it is to each layer's limit"
        fast = judged(*TARGETS[0], measured, reached=best["rate"] > 12_000, why=why)
        whole = _whole(found, best["rate"]) or whole
    if trained := [f for f in of(found, "train", way="command") if f["network"] != "resnet50"]:
        last = {f["network"]: f["total"] for f in trained}
        measured = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in last.items())
        reached = max(last.values()) < 2
        soon = judged(*TARGETS[2], measured, reached=reached, why="decoding and the heads run on the CPU")
    return [fast, whole, soon]


def _whole(found: Sequence[Fact], network: float) -> Target | None:
    said, shares = [], []
    for name in dict.fromkeys(f["set"] for f in of(found, "jpeg")):
        rates = {f["what"]: f["rate"] for f in of(found, "jpeg", set=name)}
        ends = {what: rate for what, rate in rates.items() if "end to end" in what}
        decode = max((r for what, r in rates.items() if what in {"CPU threads: to uint8", "nvJPEG: decode"}), default=0)
        if not ends or not decode:
            continue
        way, best = max(ends.items(), key=lambda item: item[1])
        shares.append(best / min(network, decode))
        said.append(f"{name} {shares[-1]:.0%} ({short(best)} images/s; {way})")
    if not shares:
        return None
    why = "the table shows each step alone"
    return judged(*TARGETS[1], "; ".join(said), reached=min(shares) >= 0.9, why=why)
