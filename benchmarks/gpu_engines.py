"""The ways to compute a network on one device, each with its rate, its wait and how far its answers are off.

python -m benchmarks.gpu_engines KIND DEVICE SECONDS [quick] -> one JSON line for each fact; `KINDS` has them all

A process of its own for each kind: cuDNN keeps the first algorithm it chose for a layer's shape, so one process can
measure either its heuristics or its search; and a compiler that hangs can be ended.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from handful.service.compute import engine
from handful.service.compute.device import has_native_bfloat16
from handful.service.compute.network import Network
from handful.training.backbone import load_backbone
from torch import Tensor, nn

from benchmarks.gpu_facts import Child, child
from benchmarks.networks import random_backbone
from benchmarks.timing import seconds_of

Run = Callable[[Tensor], Tensor]
BATCHES = (1, 8, 32, 128, 256, 512)
QUICK_BATCHES = (1, 4)
NETWORKS = ("resnet50", "resnet34", "resnet18", "builtin-resnet")
QUICK_NETWORKS = ("builtin-resnet",)
COMPILED = (
    ("resnet50", 256),
    ("resnet50", 1),
    ("resnet34", 256),
    ("builtin-resnet", 256),
    ("resnet34", 1),
    ("resnet18", 256),
)
CHOSEN = ("builtin", "resnet34", "resnet50", "vit_tiny_patch16_224", "densenet121")
AUTOTUNED = ("resnet50", 256)  # what max-autotune is tried on, last of all
AGREE = 32  # images that answers are compared on
WAITS = 32  # up to this batch the wait for one call is told, too


@dataclass(frozen=True)
class Subject:
    """One network on the device; `side` is that of its input."""

    name: str
    backbone: nn.Module
    side: int

    def batch(self, size: int, device: torch.device) -> Tensor:
        """`(N, 3, S, S)` float32 noise, channels last: never zeros, on which a GPU draws less power and is faster."""
        generator = torch.Generator(device).manual_seed(size)
        noise = torch.randn(size, 3, self.side, self.side, generator=generator, device=device)
        return noise.contiguous(memory_format=torch.channels_last)


def subject(name: str, device: torch.device) -> Subject:
    """A network of timm's with random weights, or handful's own with its real ones."""
    side = 224
    if name in {"builtin", "builtin-resnet"}:
        loaded = load_backbone(name)
        backbone, side = loaded.network, int(loaded.config["pretrained_cfg"]["input_size"][1])
    else:
        backbone = random_backbone(name)
    return Subject(name, backbone.to(device).to(memory_format=torch.channels_last), side)


def waited(run: Callable[[], object], device: torch.device) -> None:
    run()
    settle(device)


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(run: Callable[[], object], device: torch.device, rounds: int = 3, least: float = 0.04) -> tuple[float, float]:
    """Seconds for one of many calls that are queued, and for one that is waited for: medians."""
    for _ in range(3 if device.type == "cuda" else 1):
        waited(run, device)
    single = [seconds_of(partial(waited, run, device)) for _ in range(rounds)]
    count = max(1, min(200, int(least / min(single))))
    queued = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(count):
            run()
        settle(device)
        queued.append((time.perf_counter() - started) / count)
    return statistics.median(queued), statistics.median(single)


def graph_of(run: Run, batch: Tensor) -> Run:
    """The same work recorded once and replayed; the batch is copied to where it was recorded."""
    still = batch.clone()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch types it not
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run(still)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run(still)

    def replay(pixels: Tensor) -> Tensor:
        still.copy_(pixels)
        graph.replay()
        return output

    return replay


def from_bytes(run: Run, device: torch.device) -> Run:
    """Takes `(N, 3, S, S)` uint8 and normalises it on the device, with ImageNet's numbers."""
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    scale, shift = 1 / (255 * std), -mean / std

    def of_bytes(pixels: Tensor) -> Tensor:
        return run(torch.addcmul(shift, pixels.float(), scale))

    return of_bytes


def folded_run(backbone: nn.Module, device: torch.device) -> Run:
    found = engine.folded(backbone, device)
    if found is None:
        raise RuntimeError("this network cannot be folded")
    return found.run


@contextmanager
def exact() -> Iterator[None]:
    """float32 without TF32, which both cuDNN and cuBLAS may otherwise take for it."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def limits(report: Child) -> None:
    """Matrix products in bfloat16, copies on the device and to it: operations and bytes a second."""
    device = report.device
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    report.say("limit", what="operations", value=2 * size**3 / timed(partial(torch.matmul, a, b), device)[0], size=size)
    source = torch.randn((1 << 28) if device.type == "cuda" else (1 << 23), device=device)
    target, moved = torch.empty_like(source), 2 * source.numel() * source.element_size()
    report.say("limit", what="bytes", value=moved / timed(lambda: target.copy_(source), device)[0])
    if device.type == "cuda":
        for what, pin in (("pageable host to device", False), ("pinned host to device", True)):
            host = torch.randn(1 << 24, pin_memory=pin)
            into = target[: host.numel()]
            run = partial(into.copy_, host, non_blocking=pin)
            report.say("limit", what=what, value=host.numel() * 4 / timed(run, device)[0])


def work(subject: Subject, device: torch.device) -> list[tuple[int, int, int]]:
    """For each layer with weights: operations an image, bytes an image in and out, bytes of weights, in bfloat16."""
    found: list[tuple[int, int, int]] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        weights = sum(p.numel() for p in layer.parameters())
        moved = 2 * (given[0].numel() + output.numel())
        each = output.numel() if isinstance(layer, nn.Linear) else output[0, 0].numel()
        found.append((2 * each * layer.get_parameter("weight").numel(), moved, 2 * weights))

    layers = [m for m in subject.backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    subject.backbone(subject.batch(1, device))
    for hook in hooks:
        hook.remove()
    return found


def reference(subject: Subject, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch, and what the network says of it in float32."""
    batch = subject.batch(AGREE, device)
    with exact():
        return batch, subject.backbone(batch).float().clone()


def tell(report: Child, subject: Subject, way: str, run: Run, given: Tensor, expected: Tensor | None = None) -> None:
    """One fact: the rate of one way at one batch; with `expected`, how far its answers are off, too."""
    queued, single = timed(partial(run, given), report.device, rounds=1 if report.quick else 3)
    fact = {"network": subject.name, "batch": len(given), "way": way, "rate": len(given) / queued}
    if len(given) <= WAITS:
        fact["wait_ms"] = 1000 * single
    if expected is not None and len(given) == len(expected):
        fact["off"] = float((run(given).float() - expected).abs().max() / expected.abs().max())
    report.say("rate", **fact)


def ways(subject: Subject, size: int, device: torch.device) -> Iterator[tuple[str, Callable[[], tuple[Run, Tensor]]]]:
    """Each is made when it is called; those that only answer a question are left to a few batches."""
    batch = subject.batch(size, device)
    backbone = subject.backbone
    low = partial(engine.autocast, backbone, device, low_precision=has_native_bfloat16(device))
    if size in {1, AGREE, 256}:
        yield "float32, TF32", lambda: (backbone, batch)
        yield "autocast, contiguous input", lambda: (low(), batch.contiguous())
    yield "autocast", lambda: (low(), batch)
    run = folded_run(backbone, device)
    yield "folded", lambda: (run, batch)
    if size == 256:
        yield "folded, contiguous input", lambda: (run, batch.contiguous())
    if device.type == "cuda":
        yield "folded, graph", lambda: (graph_of(run, batch), batch)
        if size in {1, AGREE, 256}:
            yield "autocast, graph", lambda: (graph_of(low(), batch), batch)
    bytes_in, of_bytes = as_bytes(batch), from_bytes(run, device)
    if device.type == "cuda":
        yield "uint8 in, folded, graph", lambda: (graph_of(of_bytes, bytes_in), bytes_in)
    else:
        yield "uint8 in, folded", lambda: (of_bytes, bytes_in)


def as_bytes(batch: Tensor) -> Tensor:
    """Noise about as bright as photos are, of the same shape."""
    return (128 + 50 * batch).clamp(0, 255).to(torch.uint8, memory_format=torch.channels_last)


def heuristics(report: Child) -> None:
    """The limits, then every way at every batch with the algorithms that cuDNN's heuristics choose, as handful does."""
    report.guarded("limits", partial(limits, report))
    batches = QUICK_BATCHES if report.quick else BATCHES
    for name in QUICK_NETWORKS if report.quick else NETWORKS:
        each = subject(name, report.device)
        report.say("work", network=name, side=each.side, layers=work(each, report.device))
        _, expected = reference(each, report.device)
        for size in (AGREE, *(b for b in batches if b != AGREE)) if not report.quick else batches:
            for way, make in ways(each, size, report.device):
                report.guarded(f"{name}, {size}, {way}", partial(_measure, report, each, way, make, expected))
        if report.quick:
            batch, expected = reference(each, report.device)
            tell(report, each, "folded", folded_run(each.backbone, report.device), batch, expected)


def _measure(
    report: Child, subject: Subject, way: str, make: Callable[[], tuple[Run, Tensor]], expected: Tensor
) -> None:
    run, given = make()
    tell(report, subject, way, run, given, None if given.dtype == torch.uint8 else expected)


def tuned(report: Child) -> None:
    """The folded network with the algorithms that cuDNN finds fastest when it tries them all."""
    torch.backends.cudnn.benchmark = True
    on_gpu = report.device.type == "cuda"
    sizes = QUICK_BATCHES[:1] if report.quick else (256, 1, AGREE, 512, 128, 8)
    for size in sizes:
        for name in QUICK_NETWORKS[:1] if report.quick else NETWORKS:
            report.guarded(f"{name}, {size}, tuned", partial(_tuned, report, name, size, on_gpu=on_gpu))


def _tuned(report: Child, name: str, size: int, *, on_gpu: bool) -> None:
    each = subject(name, report.device)
    batch = each.batch(size, report.device)
    run = folded_run(each.backbone, report.device)
    started = time.perf_counter()
    waited(partial(run, batch), report.device)
    report.say("tuning", network=name, batch=size, seconds=time.perf_counter() - started)
    expected = reference(each, report.device)[1] if size == AGREE else None
    tell(report, each, "folded, tuned", run, batch, expected)
    if on_gpu:
        tell(report, each, "folded, tuned, graph", graph_of(run, batch), batch, expected)
        bytes_in = as_bytes(batch)
        of_bytes = graph_of(from_bytes(run, report.device), bytes_in)
        tell(report, each, "uint8 in, folded, tuned, graph", of_bytes, bytes_in)


def compiled(report: Child) -> None:
    """torch.compile of the folded network, as `engine.compiled` does it; then replayed from a graph."""
    pairs = (("builtin-resnet", 1),) if report.quick else COMPILED
    for name, size in pairs:
        report.guarded(f"{name}, {size}, compiled", partial(_compiled, report, name, size, {"freezing": True}, ""))


def autotuned(report: Child) -> None:
    """The compiler tries its own convolutions against cuDNN's: what mode='max-autotune-no-cudagraphs' sets."""
    options = {"freezing": True, "max_autotune": True, "coordinate_descent_tuning": True}
    name, size = ("builtin-resnet", 1) if report.quick else AUTOTUNED
    report.guarded("max-autotune", partial(_compiled, report, name, size, options, ", max-autotune"))


def _compiled(report: Child, name: str, size: int, options: dict[str, bool], suffix: str) -> None:
    torch.compiler.reset()
    each = subject(name, report.device)
    batch = each.batch(size, report.device)
    run: Run = torch.compile(folded_run(each.backbone, report.device), dynamic=False, options=dict(options))
    started = time.perf_counter()
    waited(partial(run, batch), report.device)
    report.say("compiling", network=name, batch=size, way="compiled" + suffix, seconds=time.perf_counter() - started)
    tell(report, each, "compiled" + suffix, run, batch)
    with exact():
        expected = each.backbone(batch).float()
    off = float((run(batch).float() - expected).abs().max() / expected.abs().max())
    report.say("off", network=name, batch=size, way="compiled" + suffix, off=off)
    if report.device.type == "cuda":
        tell(report, each, f"compiled{suffix}, graph", graph_of(run, batch), batch)


def chosen(report: Child) -> None:
    """Which engine handful chooses by timing, as `serve` does when it meets a network for the first time."""
    for name in QUICK_NETWORKS if report.quick else CHOSEN:
        report.guarded(f"{name}, choice", partial(_chosen, report, name))


def _chosen(report: Child, name: str) -> None:
    each = subject(name, report.device)
    network = Network(each.backbone)
    started = time.perf_counter()
    network.choose_fastest_for(None, each.side)
    seconds = time.perf_counter() - started
    few = network.small_batch_engine or network.engine
    for workload, rates in network.timed.items():
        engine = few if workload.images == 1 else network.engine
        batch = workload.images
        report.say("chosen", network=name, batch=batch, engine=engine.name, rates=rates, seconds=seconds)


KINDS: dict[str, Callable[[Child], None]] = {
    "heuristics": heuristics,
    "chosen": chosen,
    "tuned": tuned,
    "compiled": compiled,
    "autotuned": autotuned,
}

if __name__ == "__main__":
    with torch.inference_mode():
        child(KINDS)
