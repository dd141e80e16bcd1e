"""From JPEG files to embeddings: decoding on the CPU's threads or by nvJPEG, and what the network leaves of that.

python -m benchmarks.gpu_photos jpeg|warm DEVICE SECONDS [quick] -> one JSON line for each fact
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from handful.service.artifact.images import read_image
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.device import cpu_count
from handful.service.compute.network import Network
from handful.service.compute.pipeline import Batch, run_batches
from torch import Tensor
from torch.nn import functional

from benchmarks.bench import CACHE
from benchmarks.gpu_engines import Run, Subject, as_bytes, folded_run, from_bytes, graph_of, settle, subject, timed
from benchmarks.gpu_facts import Child, child
from benchmarks.networks import backbone_folder
from benchmarks.timing import seconds_of

PREPROCESSING = Preprocessing(
    side_pixels=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bicubic", crop_pct=0.95
)
SETS = {"photos": CACHE / "gpu-photos/jpegs", "12-megapixel photos": CACHE / "gpu-photos/phone"}
BATCH = 256
SLOTS = 3  # batches in the making: one is decoded into, one travels, one is computed


def shown(path: Path) -> np.ndarray:
    """The `(S, S, 3)` uint8 picture that the network looks at."""
    return np.asarray(PREPROCESSING.pixels(PREPROCESSING.read(path)))


def normalised(path: Path) -> Tensor:
    return PREPROCESSING(PREPROCESSING.read(path))


def decoded_only(path: Path) -> int:
    return read_image(path, min_side=PREPROCESSING.min_decode_side).width


def shown_rows(path: Path) -> int:
    return len(shown(path))


def many(files: Sequence[Path], images: int) -> list[Path]:
    return list(itertools.islice(itertools.cycle(files), images))


def rate_of(read: Callable[[Path], object], files: Sequence[Path], seconds: float) -> float:
    """Images a second on a thread for each core; a try tells how many fill the time."""
    with ThreadPoolExecutor(cpu_count()) as pool:

        def run(images: int) -> float:
            return images / seconds_of(lambda: [None for _ in pool.map(read, many(files, images))])

        return run(max(2 * cpu_count(), int(run(2 * cpu_count()) * seconds)))


def processes_rate(files: Sequence[Path], images: int) -> float:
    """The same in processes, which share no interpreter; nothing is carried between them. Only before CUDA is used."""
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(cpu_count(), mp_context=fork) as pool:
        list(pool.map(shown_rows, many(files, 4 * cpu_count())))
        return images / seconds_of(lambda: list(pool.map(shown_rows, many(files, images), chunksize=8)))


def in_processes(report: Child, name: str, files: Sequence[Path], images: int) -> None:
    report.say("jpeg", set=name, what="CPU processes: to uint8", rate=processes_rate(files, images))


def jpeg(report: Child) -> None:
    """Each limit alone, then everything together, for each set of photos."""
    sets = {name: sorted(folder.iterdir()) for name, folder in SETS.items()}
    seconds = 0.5 if report.quick else 1.5
    decode: dict[str, float] = {}
    for name, files in sets.items():
        for what, read in (("decode", decoded_only), ("to uint8", shown), ("to float32", normalised)):
            rate = rate_of(read, files, seconds)
            decode[f"{name} {what}"] = rate
            report.say("jpeg", set=name, what=f"CPU threads: {what}", rate=rate)
        images = max(2 * cpu_count(), int(decode[f"{name} to uint8"] * seconds))
        report.guarded("processes", partial(in_processes, report, name, files, images))
    architecture = "resnet18" if report.quick else "resnet50"
    each = subject(architecture, report.device)
    report.say("jpeg network", network=architecture)
    report.guarded("from the host's memory", partial(from_host, report, each))
    for name, files in sets.items():
        rate = decode[f"{name} to uint8"]
        report.guarded(f"{name}, as handful", partial(as_handful, report, each, name, files, rate))
        report.guarded(f"{name}, as bytes", partial(streamed, report, each, name, files, rate))
        report.guarded(f"{name}, nvJPEG", partial(nvjpeg, report, each, name, files))


def from_host(report: Child, each: Subject) -> None:
    """What `Network.embed` makes of float32 in ordinary memory, and what bytes in pinned memory would come to."""
    network = Network(each.backbone)
    host = each.batch(16 if report.quick else 1024, torch.device("cpu"))
    for size in (network.batch, *(() if report.quick else (128, BATCH))):
        network.batch = size
        network.choose_fastest_for(10_000, each.side)
        rate = len(host) / timed(lambda: network.embed(host), report.device, rounds=3)[1]
        report.say("jpeg", set="in memory", what=f"Network.embed, float32, batches of {size}", rate=rate)
    stream = Stream(each, 8 if report.quick else BATCH, report.device)
    slots = itertools.cycle(stream.slots)
    for slot in stream.slots:
        slot.copy_(as_bytes(each.batch(len(slot), torch.device("cpu"))).permute(0, 2, 3, 1))
    batches = 2 if report.quick else 16
    rate = batches * stream.size / timed(lambda: [stream.run(next(slots)) for _ in range(batches)], report.device)[1]
    report.say("jpeg", set="in memory", what=f"uint8, pinned, graph, batches of {stream.size}", rate=rate)


class Stream:
    """Bytes in pinned memory go to the device and through the folded network, one batch behind the other."""

    def __init__(self, each: Subject, size: int, device: torch.device) -> None:
        self.size, self.device = size, device
        self.on_gpu = device.type == "cuda"
        shape = (size, each.side, each.side, 3)
        self.slots = [torch.empty(shape, dtype=torch.uint8, pin_memory=self.on_gpu) for _ in range(SLOTS)]
        still = as_bytes(each.batch(size, device))
        of_bytes = from_bytes(folded_run(each.backbone, device), device)
        self._run: Run = graph_of(of_bytes, still) if self.on_gpu else of_bytes
        width = self._run(still).shape[1]
        self.embeddings = torch.empty(size, width, dtype=torch.bfloat16, pin_memory=self.on_gpu)

    def run(self, slot: Tensor) -> Callable[[], None]:
        """Begins; what is returned waits until the slot may be written to again and the embeddings are here."""
        pixels = slot.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        self.embeddings.copy_(self._run(pixels), non_blocking=True)
        if not self.on_gpu:
            return lambda: None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch types it not
        event.record()
        return event.synchronize


def fill(slot: np.ndarray, row: int, path: Path) -> None:
    slot[row] = shown(path)


def streamed(report: Child, each: Subject, name: str, files: Sequence[Path], decode: float) -> None:
    """Threads decode into pinned memory while the device computes the batch before."""
    size = 8 if report.quick else min(BATCH, max(16, 1 << int(max(4.0, decode) / 4).bit_length() - 1))
    stream = Stream(each, size, report.device)
    batches = max(4, int(decode * (0.5 if report.quick else 2.5) / size))
    paths = iter(many(files, batches * size))
    arrays = [slot.numpy() for slot in stream.slots]
    free: list[Callable[[], None]] = [lambda: None] * SLOTS
    with ThreadPoolExecutor(cpu_count()) as pool:

        def begin(number: int) -> list[Future[None]]:
            free[number % SLOTS]()
            return [pool.submit(fill, arrays[number % SLOTS], row, next(paths)) for row in range(size)]

        started = time.perf_counter()
        ahead = [begin(number) for number in range(2)]
        for number in range(batches):
            for future in ahead.pop(0):
                future.result()
            free[number % SLOTS] = stream.run(stream.slots[number % SLOTS])
            if number + 2 < batches:
                ahead.append(begin(number + 2))
        settle(report.device)
    rate = batches * size / (time.perf_counter() - started)
    report.say("jpeg", set=name, what=f"end to end: threads, uint8, pinned, graph, batches of {size}", rate=rate)


def as_handful(report: Child, each: Subject, name: str, files: Sequence[Path], decode: float) -> None:
    """`handful classify`'s own pipeline, without the head and the file."""
    network = Network(each.backbone)
    images = max(2 * cpu_count(), int(decode * (0.5 if report.quick else 2.5)))
    for size in (network.batch, *(() if report.quick else (BATCH,))):
        network.batch = size
        network.choose_fastest_for(10_000, each.side)

        def embed(batch: Batch[Path, Tensor], network: Network = network) -> int:
            return 0 if batch.pixels is None else len(network.embed(batch.pixels))

        def run(count: int, network: Network = network, embed: Callable[[Batch[Path, Tensor]], int] = embed) -> int:
            paths = many(files, count)
            batches = run_batches(
                paths, normalised, lambda p: p, embed, size=network.batch, parallel_batches=network.parallel_batches
            )
            return sum(batches)

        run(2 * min(size, 32))
        rate = images / seconds_of(partial(run, images))
        report.say("jpeg", set=name, what=f"end to end: handful's pipeline, batches of {size}", rate=rate)


def on_device(pictures: Sequence[Tensor]) -> Tensor:
    """(3, H, W) uint8 of any sizes -> `(N, 3, S, S)` uint8: the short side resized, the middle cut out."""
    side, short = PREPROCESSING.side_pixels, int(PREPROCESSING.side_pixels / PREPROCESSING.crop_pct)
    made = []
    for picture in pictures:
        height, width = (int(short * n / min(picture.shape[1:])) for n in picture.shape[1:])
        sized = functional.interpolate(
            picture[None].float(), size=(height, width), mode="bicubic", antialias=True, align_corners=False
        )
        top, left = round((height - side) / 2), round((width - side) / 2)
        made.append(sized[0, :, top : top + side, left : left + side])
    return torch.stack(made).round().clamp(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


def nvjpeg(report: Child, each: Subject, name: str, files: Sequence[Path]) -> None:
    """Decoding alone, with resizing, and with the network; and how far the pictures are from Pillow's."""
    from torchvision.io import ImageReadMode, decode_jpeg  # type: ignore[import-untyped]  # ships no types

    device = report.device
    images = (2, 8) if report.quick else (16, 64)
    paths = many(files, images[name == "photos"])
    data = [torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for path in paths]
    of_bytes = from_bytes(folded_run(each.backbone, device), device)

    def decoded() -> list[Tensor]:
        found: list[Tensor] = decode_jpeg(data, mode=ImageReadMode.RGB, device=str(device))
        return found

    steps: dict[str, Callable[[], object]] = {
        "decode": decoded,
        "decode and resize": lambda: on_device(decoded()),
        "end to end": lambda: of_bytes(on_device(decoded())).cpu(),
    }
    for what, run in steps.items():
        rate = len(data) / timed(run, device, rounds=1 if report.quick else 4, least=0.3)[0]
        where = "nvJPEG" if device.type == "cuda" else "torchvision on the CPU"
        report.say("jpeg", set=name, what=f"{where}: {what}", rate=rate)
    pillow = torch.stack([torch.from_numpy(shown(path).copy()) for path in paths[:8]]).float()
    there = on_device(decoded()[:8]).permute(0, 2, 3, 1).float().cpu()
    report.say(
        "jpeg off", set=name, mean=float((pillow - there).abs().mean()), most=float((pillow - there).abs().max())
    )


def warm(report: Child) -> None:
    """Training in one process, again and again with nothing cached: what remains once CUDA has started."""
    from handful.training.settings import TrainSettings
    from handful.training.train import train_folder

    folder = CACHE / "train"
    networks = ("builtin-resnet",) if report.quick else ("resnet34", "builtin-resnet")
    for name, number in itertools.product(networks, range(1 if report.quick else 3)):
        if report.left <= 0:
            return
        settings = TrainSettings(name="gpu", backbone=name if name == "builtin-resnet" else str(backbone_folder(name)))
        shutil.rmtree(Path(os.environ["HANDFUL_HOME"]) / "cache", ignore_errors=True)
        started = time.perf_counter()
        result: dict[str, Any] = train_folder(folder, settings)[0]
        wall = time.perf_counter() - started
        report.say("train", network=name, way=f"in one process, run {number + 1}", wall=wall, **result["seconds"])


if __name__ == "__main__":
    child({"jpeg": torch.inference_mode()(jpeg), "warm": warm})
