"""The network alone: every engine that handful would choose among, the one that it chose, and the limit."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from handful.service.compute import engine
from handful.service.compute.device import cpu_count
from handful.service.compute.engine import Engine
from handful.service.compute.fastest import EngineTimings, Workload, fastest_of
from handful.service.compute.int8 import calibrate
from handful.service.compute.network import Network
from handful.training.backbone import load_backbone
from torch import Tensor, nn

from benchmarks.bench import Bench, PeerFailed
from benchmarks.limits import integer_rate, network_limit
from benchmarks.networks import backbone_folder, flops, pixels, random_backbone
from benchmarks.sections import Section, judged
from benchmarks.timing import Measured, alternate, per_second, short, table

NETWORKS = {"builtin": None, "builtin-resnet": None, "resnet18": 224, "resnet34": 224}  # side; None: its own
COMPILED = "resnet18"
BATCH, ROUNDS = 16, 8
WITHIN = 0.05  # of the best candidate
CPU = torch.device("cpu")


class Contenders:
    """The engines of one network, made once, and which of them handful chose by its own timing."""

    def __init__(self, name: str, *, compiling: bool) -> None:
        self.name, side = name, NETWORKS[name]
        self.backbone, self.side = _loaded(name, side)
        ranges = calibrate(self.backbone, [pixels(BATCH, self.side)])
        timings = EngineTimings(self.backbone, CPU, ranges, self.side)
        made = {each: make() for each, make in timings.makers.items()}
        self.engines: dict[str, Engine] = {each: one for each, one in made.items() if one is not None}
        plain = EngineTimings(self.backbone, CPU, None, self.side)  # int8 is only where it was tried on photos
        self.chosen = {}
        for workload in (Workload(1, 1), Workload(BATCH, Network(self.backbone).parallel_batches)):
            plain.fastest(workload)
            self.chosen[workload] = fastest_of(plain.rates(workload) or {})
        if compiling:
            self._compile()

    def _compile(self) -> None:
        started = time.perf_counter()
        batch = pixels(BATCH, self.side).to(memory_format=torch.channels_last)
        compiled = engine.compiled(self.backbone, batch)
        if compiled is not None:
            self.engines[f"compiled in {time.perf_counter() - started:.0f} s, frozen"] = compiled

    def rates(self, workload: Workload, rounds: int) -> dict[str, Measured]:
        batch = pixels(workload.images, self.side).to(memory_format=torch.channels_last)
        usable = {
            name: each
            for name, each in self.engines.items()
            if workload.images == BATCH or not name.startswith("compiled")  # made for that shape
        }
        with ThreadPoolExecutor(workload.threads) as pool:
            runs = {name: partial(_per_second, each, batch, workload, pool) for name, each in usable.items()}
            return alternate(runs, rounds)


def _loaded(name: str, side: int | None) -> tuple[nn.Module, int]:
    if side is not None:
        return random_backbone(name), side
    loaded = load_backbone(name)
    return loaded.network, loaded.preprocessing.side_pixels


def _per_second(each: Engine, batch: Tensor, workload: Workload, pool: ThreadPoolExecutor) -> float:
    """Images a second of all threads together, each with its share of the cores."""

    @torch.inference_mode()
    def run(_: int) -> float:
        torch.set_num_threads(max(1, cpu_count() // workload.threads))
        return per_second(partial(each.run, batch), workload.images, 0.2)

    return sum(pool.map(run, range(workload.threads)))


def compared(contenders: Contenders, rounds: int) -> tuple[str, dict[str, float]]:
    """A network's table, and of each workload the chosen engine's rate as a share of the best candidate's."""
    cost = flops(contenders.backbone, contenders.side)
    limit = network_limit(cost)
    measured = {workload: contenders.rates(workload, rounds) for workload in contenders.chosen}
    one, full = measured
    rows = []
    for name in contenders.engines:
        cells = []
        for workload in (one, full):
            rate = measured[workload].get(name)
            mark = " (chosen)" if contenders.chosen[workload] == name else ""
            cells.append("" if rate is None else f"{rate}{mark}")
        best = measured[full].get(name)
        of = integer_rate() / cost if name == "int8" else limit
        rows.append([contenders.engines[name].label, *cells, "" if best is None else f"{best.median / of:.0%}"])
    shares = {
        f"{contenders.name}, {what}": rates[contenders.chosen[workload]].median
        / max(rate.median for name, rate in rates.items() if name != "int8" and not name.startswith("compiled"))
        for (workload, rates), what in zip(measured.items(), ("one image", f"batches of {BATCH}"), strict=True)
    }
    heading = ["engine", "one image", f"batches of {BATCH}, {full.threads} in parallel", "of the limit"]
    return (
        f"{contenders.name} at {contenders.side} pixels, {cost / 1e9:.2f} GFLOP an image, images a second; the limit is"
        f" {short(limit)}.\n\n{table(heading, rows)}",
        shares,
    )


def others(bench: Bench) -> str:
    """ONNX Runtime and OpenVINO on the same network."""
    try:
        result = bench.peer("engines", backbone_folder("resnet18", 224), "224", str(BATCH))
    except PeerFailed as e:
        return f"ONNX Runtime and OpenVINO were not measured: {e}"
    rows = [[name, short(rate), f"{result['cosines'][name]:.5f}"] for name, rate in result["rates"].items()]
    return f"Other runtimes on resnet18 ({result['version']}), same batch:\n\n" + table(
        ["runtime", "images/s", "smallest cosine to float32"], rows
    )


def run(bench: Bench) -> Section:
    """Target: handful's own timing, which takes a second or two, finds the best of its engines."""
    texts, shares = [], dict[str, float]()
    for name in ("builtin", "resnet18") if bench.quick else NETWORKS:
        text, each = compared(
            Contenders(name, compiling=name == COMPILED and not bench.quick), 2 if bench.quick else ROUNDS
        )
        texts.append(text)
        shares |= each
    worst = min(shares.values())
    target = judged(
        "the engine chosen by timing",
        f"within {WITHIN:.0%} of the best, one image and full batches, {len(texts)} networks",
        ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        reached=worst >= 1 - WITHIN,
        why="a tie goes to the simpler engine, and a choice of seconds on a busy machine can miss by a few per cent",
    )
    said = "int8 only answers where `train --int8` has tried it on photos, so it is not among what is chosen here."
    return Section(title="The network alone", text="\n\n".join([*texts, said, others(bench)]), targets=[target])
