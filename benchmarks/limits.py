"""The limits of this machine, measured in the same run as the rates that are compared with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from handful.service.artifact.images import read_image
from handful.service.compute.device import cpu_count, has_native_bfloat16, has_native_int8

from benchmarks import photos
from benchmarks.bench import Bench
from benchmarks.networks import flops, random_backbone
from benchmarks.sections import Section
from benchmarks.timing import Measured, alternate, per_second, seconds_of, short, table

SIZES = (1024, 2048, 4096)
CPU = torch.device("cpu")


@cache
def matrix_rate(precision: torch.dtype) -> float:
    """Floating-point operations per second: the best square matrix product, all cores, warm."""
    best = 0.0
    for size in SIZES:
        a, b = (torch.randn(size, size).to(precision) for _ in range(2))
        best = max(best, *(per_second(partial(torch.matmul, a, b), 2 * size**3) for _ in range(2)))
    return best


@cache
def integer_rate() -> float:
    """The same for 8-bit integers, by the best 3 x 3 convolution: torch has no fast matrix product of them."""
    best = 0.0
    for channels in (128, 256, 512):
        images, side, scale = 16, 14, torch.full((channels,), 0.01)
        weight = torch.randint(-127, 128, (channels, channels, 3, 3), dtype=torch.int8)
        values = torch.randint(0, 256, (images, channels, side, side), dtype=torch.uint8)
        values = values.contiguous(memory_format=torch.channels_last)
        where: tuple[Any, ...] = ([1, 1], [1, 1], [1, 1], 1)
        packed = torch.ops.onednn.qconv_prepack(weight, scale, 0.1, 0, *where, None)
        zeros = torch.zeros(channels, dtype=torch.int64)
        layer = (values, 0.1, 0, packed, scale, zeros, None, *where, 1.0, 0, torch.uint8, "none", [], "")
        operations = 2 * 9 * channels**2 * images * side**2
        best = max(
            best, *(per_second(partial(torch.ops.onednn.qconv2d_pointwise, *layer), operations) for _ in range(2))
        )
    return best


def network_limit(flops_per_image: float) -> float:
    """Images per second if the network were only matrix products at the best precision's rate."""
    best = max(matrix_rate(torch.float32), matrix_rate(torch.bfloat16) if has_native_bfloat16(CPU) else 0.0)
    return best / flops_per_image


def decode_rate(files: Sequence[Path], side_pixels: int) -> float:
    """Images per second on all cores: reading, and decoding by Pillow at the smallest sufficient DCT scale."""
    with ThreadPoolExecutor(cpu_count()) as pool:

        def run() -> None:
            for _ in pool.map(lambda path: read_image(path, min_side=2 * side_pixels), files):
                pass

        return per_second(run, len(files), 1.0)


def folder_limit(network: float, decode: float) -> float:
    """Images per second if both share the cores: an image costs the sum; with a GPU the slower one is the limit."""
    return 1 / (1 / network + 1 / decode)


def disk_rate(files: Sequence[Path]) -> float:
    """Bytes per second of reading the files, dropped from the page cache before if the system allows it."""
    for path in files:
        with path.open("rb") as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    total = sum(path.stat().st_size for path in files)
    return total / seconds_of(lambda: [path.read_bytes() for path in files])


def run(bench: Bench) -> Section:
    """The machine's rates, and the limits that follow from them."""
    precisions = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    rates = alternate({name: partial(matrix_rate, p) for name, p in precisions.items()}, 1)
    if has_native_int8(CPU):
        rates["8-bit integers"] = Measured((integer_rate(),))
    web, phone = photos.files_below(photos.source(bench)), photos.phone_photos()
    rows = [[f"matrix product, {name}", f"{rate.median / 1e9:,.0f} billion per second"] for name, rate in rates.items()]
    for name, files in (("photos", web), ("12-megapixel photos", phone)):
        rates_of = {side: decode_rate(files, side) for side in (128, 224)}
        rows += [[f"decode {name} for {s} pixels", f"{short(r)} images/s"] for s, r in rates_of.items()]
        rows += [[f"read {name}, not cached", f"{disk_rate(files) / 1e6:,.0f} MB/s"]]
    allowed = []
    for name in ("resnet18", "resnet34", "resnet50"):
        cost = flops(random_backbone(name), 224)
        limit, decode = network_limit(cost), decode_rate(web, 224)
        allowed.append([name, f"{cost / 1e9:.2f}", short(limit), short(folder_limit(limit, decode))])
    text = table(["what", "here"], rows) + "\n\nAt 224 pixels this allows at most, in images per second:\n\n"
    text += table(["network", "GFLOP per image", "network alone", "from a folder, same cores"], allowed)
    return Section(title="The machine's limits", text=text)
