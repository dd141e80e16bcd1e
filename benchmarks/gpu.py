"""One NVIDIA GPU: network, decoding, training. Skipped, and said so, where there is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from handful.service.compute import engine
from torch import Tensor, nn

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.networks import backbone_folder, flops, random_backbone
from benchmarks.sections import Section, Target, judged
from benchmarks.timing import per_second, short, table

SIDE = 224
BATCHES = (1, 8, 32, 128, 256, 512)
NETWORKS = ("resnet18", "resnet34", "resnet50")
TARGETS = (("one H200: ResNet-50 in bfloat16", "12,000 images/s"), ("one H200: training 160 photos", "under 2 s"))
UNMEASURED = "No CUDA device was there, so nothing of this part was ever run for this page."


def run(bench: Bench) -> Section:
    """Targets: ResNet-50 in bf16 over 12,000 images a second; training 160 photos under 2 s."""
    if not torch.cuda.is_available():
        return Section(title="One GPU", text=UNMEASURED, targets=_unmeasured())
    rate = matrix_rate()
    parts = [f"{torch.cuda.get_device_name()}; bfloat16 matrix products {rate / 1e12:,.0f} TFLOP/s."]
    best = 0.0
    for name in NETWORKS:
        text, fastest = network(name, rate)
        parts.append(text)
        best = fastest if name == "resnet50" else best
    seconds = train_seconds(bench)
    parts += [decoding(photos.phone_photos()), f"Training 160 photos with resnet34: {seconds:.2f} s."]
    (fast, least), (soon, most) = TARGETS
    targets = [
        judged(fast, least, short(best), reached=best > 12_000, why="the table says which way was fastest"),
        judged(soon, most, f"{seconds:.2f} s", reached=seconds < 2, why="decoding and the heads run on the CPU"),
    ]
    return Section(title="One GPU", text="\n\n".join(parts), targets=targets)


def _unmeasured() -> list[Target]:
    why = "no GPU was at hand; python -m benchmarks gpu measures it"
    return [Target(what=what, target=target, measured="never run", reached=None, why=why) for what, target in TARGETS]


def matrix_rate() -> float:
    """bfloat16 operations a second."""
    best = 0.0
    for size in (4096, 8192, 16384):
        a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        best = max(best, per_second(partial(waited, partial(torch.matmul, a, b)), 2 * size**3, 1.0))
    return best


def waited(run: Callable[[], object]) -> None:
    run()
    torch.cuda.synchronize()


def network(name: str, rate: float) -> tuple[str, float]:
    """Eager, folded, captured in a graph and compiled, by batch size; the fastest rate."""
    device = torch.device("cuda")
    backbone = random_backbone(name).to(device).to(memory_format=torch.channels_last)
    limit = rate / flops(backbone, SIDE)
    rows, fastest = [], 0.0
    for size in BATCHES:
        batch = torch.randn(size, 3, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
        rates = [_rate(run, batch) for run in _ways(backbone, batch)]
        fastest = max(fastest, *rates)
        rows.append([size, *map(short, rates), f"{max(rates) / limit:.0%}"])
    head = ["batch", "eager, autocast", "folded", "folded, CUDA graph", "compiled", "best of the limit"]
    return f"{name}, images/s; the limit is {short(limit)}:\n\n" + table(head, rows), fastest


def _ways(backbone: nn.Module, batch: Tensor) -> list[Callable[[Tensor], object] | None]:
    device = batch.device
    folded, compiled = engine.folded(backbone, device), engine.compiled(backbone, batch)
    return [
        engine.autocast(backbone, device, low_precision=True),
        folded.run if folded else None,
        graph_of(folded.run, batch) if folded else None,
        compiled.run if compiled else None,
    ]


def _rate(run: Callable[[Tensor], object] | None, batch: Tensor) -> float:
    if run is None:
        return 0.0
    with torch.inference_mode():
        return per_second(partial(waited, partial(run, batch)), len(batch), 1.0)


def graph_of(run: Callable[[Tensor], Tensor], batch: Tensor) -> Callable[[Tensor], Tensor]:
    """The same work recorded once and replayed; the batch is copied to where it was recorded."""
    with torch.inference_mode():
        still = batch.clone(memory_format=torch.channels_last)
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


def decoding(files: list[Path]) -> str:
    """12-megapixel JPEGs: Pillow with DCT scaling on all cores against nvJPEG through torchvision."""
    from benchmarks.limits import decode_rate

    cpu = decode_rate(files, SIDE)
    try:
        from torchvision.io import ImageReadMode, decode_jpeg  # type: ignore[import-untyped]  # ships no types

        data = [torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for path in files]
        run = partial(waited, lambda: decode_jpeg(data, mode=ImageReadMode.RGB, device="cuda"))
        gpu = f"{short(per_second(run, len(data), 2.0))} images/s"
    except (ImportError, RuntimeError) as e:
        gpu = f"not to be had ({e})"
    return f"Decoding 12-megapixel JPEGs: CPU, all cores, scaled {short(cpu)} images/s; nvJPEG, whole, {gpu}."


def train_seconds(bench: Bench) -> float:
    train, _ = photos.train_and_test(bench)
    answer = bench.handful("train", train, "--name", "gpu", "--backbone", backbone_folder("resnet34", SIDE))
    return float(answer["seconds"]["total"])
