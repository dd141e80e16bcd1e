"""The network alone: every engine, and the limit."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial

import torch
from handful.service.compute import engine
from handful.service.compute.device import has_native_bfloat16, has_native_int8
from handful.service.compute.int8 import calibrate
from handful.service.compute.network import Network
from torch import Tensor, nn

from benchmarks.bench import Bench, PeerFailed
from benchmarks.limits import integer_rate, network_limit
from benchmarks.networks import backbone_folder, flops, pixels, random_backbone
from benchmarks.sections import Section, judged
from benchmarks.timing import Measured, alternate, per_second, short, table

BATCH, SIDE = 16, 224
INT8 = "int8 (train --int8)"
CPU = torch.device("cpu")
Run = Callable[[Tensor], object]


def ways(backbone: nn.Module, *, compiling: bool) -> tuple[dict[str, Run], str]:
    """Every way to run the network, and a sentence on compiling."""
    laid_out = copy.deepcopy(backbone).to(memory_format=torch.channels_last)
    low = has_native_bfloat16(CPU)
    folded = engine.folded(backbone, CPU)
    runs: dict[str, Run] = {
        "eager, float32": backbone,
        "eager, channels_last, float32": laid_out,
        "eager, channels_last, autocast": engine.autocast(laid_out, CPU, low_precision=low),
    }
    if folded:
        runs["folded"] = folded.run
    chosen = engine.choose_engine(backbone, CPU)
    runs[f"chosen: {chosen.label}"] = chosen.run
    if has_native_int8(CPU) and (ranges := calibrate(backbone, [pixels(BATCH, SIDE)])):
        runs[INT8] = engine.int8(backbone, ranges).run
    if not compiling:
        return runs, ""
    started = time.perf_counter()
    compiled = engine.compiled(backbone, pixels(BATCH, SIDE).to(memory_format=torch.channels_last))
    if compiled is None:
        return runs, "It could not be compiled here."
    runs["compiled, frozen"] = compiled.run
    return runs, f"Compiling took {time.perf_counter() - started:.0f} s."


def measure(name: str, rounds: int, *, compiling: bool) -> tuple[str, dict[str, Measured], float]:
    """One network's table, rates and limit."""
    backbone = random_backbone(name)
    limit = network_limit(flops(backbone, SIDE))
    runs, compiling_text = ways(backbone, compiling=compiling)
    batch = pixels(BATCH, SIDE).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        rates = alternate({k: partial(per_second, partial(r, batch), BATCH) for k, r in runs.items()}, 2 * rounds)
        alone = {k: 1000 / per_second(partial(r, batch[:1]), 1) for k, r in runs.items()}
    limits = {k: integer_rate() / flops(backbone, SIDE) if k == INT8 else limit for k in rates}
    rows = [[k, r, f"{r.median / limits[k]:.0%}", short(alone[k])] for k, r in rates.items()]
    text = f"{name} at {SIDE} pixels, batches of {BATCH}; the limit is {short(limit)} images/s"
    text += f", {short(limits[INT8])} in 8-bit integers.\n\n" if INT8 in limits else ".\n\n"
    text += table(["way", "images/s", "of the limit", "one image, ms"], rows)
    return f"{text}\n\n{compiling_text}".strip(), rates, limit


def others(bench: Bench) -> str:
    """ONNX Runtime and OpenVINO on the same network."""
    try:
        result = bench.peer("engines", backbone_folder("resnet18", SIDE), str(SIDE), str(BATCH))
    except PeerFailed as e:
        return f"ONNX Runtime and OpenVINO were not measured: {e}"
    rows = [[name, short(rate), f"{result['cosines'][name]:.5f}"] for name, rate in result["rates"].items()]
    return f"Other runtimes on resnet18 ({result['version']}), same batch:\n\n" + table(
        ["runtime", "images/s", "smallest cosine to float32"], rows
    )


def ladder(name: str) -> str:
    """The chosen engine's rate by batch size."""
    network = Network(random_backbone(name))
    sizes = (1, 2, 4, 8, 16, 32, 64)
    rates = [per_second(partial(network.embed, pixels(n, SIDE)), n) for n in sizes]
    return f"{name}, images/s by batch: " + ", ".join(f"{n}: {short(r)}" for n, r in zip(sizes, rates, strict=True))


def run(bench: Bench) -> Section:
    """Target: 85 % of the limit."""
    names = ("resnet18",) if bench.quick else ("resnet18", "resnet34")
    texts, shares = [], []
    for name in names:
        text, rates, limit = measure(name, bench.repeats, compiling=name == names[0])
        texts.append(text)
        shares += [(name, r.median / limit) for k, r in rates.items() if k.startswith("chosen")]
    texts += [ladder("resnet18"), others(bench)]
    worst = min(share for _, share in shares)
    target = judged(
        "embedding, network alone",
        "85 % of the matrix-product limit",
        ", ".join(f"{name} {share:.0%}" for name, share in shares),
        reached=worst >= 0.85,
        why="the rest is memory traffic (max-pool, additions); compiling would fuse some of it",
    )
    return Section(title="The network alone", text="\n\n".join(texts), targets=[target])
