"""Which engines are the fastest for a network on this machine: timed once, then remembered.

No rule holds from one processor to the next: fused convolutions are the fastest way on one processor with bfloat16 and
the slowest on another. So the engines take turns, for one image on all cores and for full batches, several in parallel,
as `classify` runs them. The results lie in `HANDFUL_HOME/cache/engines.json`, by network, device, cores and version of
torch. Training follows a fixed rule instead (`engine.choose_engine`), so that the same photos and seed give the same
artifact.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from handful.service.artifact.atomic import locked, replace_text
from handful.service.artifact.store import home
from handful.service.compute.device import cpu_count
from handful.service.compute.engine import Engine, eager, folded, fused, graph, int8, openvino
from handful.service.compute.int8 import Ranges
from handful.service.compute.openvino_library import is_installed
from torch import Tensor, nn

logger = logging.getLogger(__name__)
TIE = 0.05  # within this share of the fastest, the simpler engine is chosen
ROUNDS = 3
ROUND_SECONDS = 0.08
WHY = "it was the fastest when the engines were timed here"
_LARGEST_DIFFERENCE = 0.1  # of the largest embedding value, from eager: bfloat16 moves a gated network by 0.04


@dataclass(frozen=True)
class Workload:
    """Batches of `images`, computed by so many threads at once, each on its share of the cores."""

    images: int
    threads: int

    @property
    def key(self) -> str:
        return f"{self.images}x{self.threads}"


Make = Callable[[], Engine | None]
Rates = dict[str, float]  # images per second by engine, the simplest engine first


class EngineTimings:
    """The engines of one network on one device, for input of `side_pixels`."""

    def __init__(self, backbone: nn.Module, device: torch.device, ranges: Ranges | None, side_pixels: int) -> None:
        self.device, self.shape = device, (3, side_pixels, side_pixels)
        self._key = _key(backbone, device, ranges, side_pixels)
        self.makers = _makers(backbone, device, ranges, side_pixels)

    def rates(self, workload: Workload) -> Rates | None:
        """What is remembered; None where an engine has not been timed here."""
        rates = _read().get(self._key, {}).get(workload.key, {})
        return {name: rates[name] for name in self.makers} if set(self.makers) <= set(rates) else None

    def fastest(self, workload: Workload) -> Engine:
        """Makes the fastest engine; times all of them first where that has not been done here."""
        rates = self.rates(workload)
        engine = self._made(fastest_of(rates)) if rates else None
        return engine or self._time(workload)

    def _time(self, workload: Workload) -> Engine:
        batch = torch.randn(workload.images, *self.shape, generator=torch.Generator().manual_seed(0))
        batch = batch.to(self.device, memory_format=torch.channels_last)
        engines: dict[str, Engine] = {}
        expected: Tensor | None = None
        for name in self.makers:
            engine = self._made(name)
            result = None if engine is None else _result(engine, batch)
            if engine is None or result is None:
                continue
            expected = result if expected is None else expected
            if name == "int8" or _is_close(result, expected):  # int8 was tried on photos when it was trained
                engines[name] = engine
        with ThreadPoolExecutor(workload.threads, "time") as pool:
            rounds = [
                {name: _rate(engine, batch, workload, pool) for name, engine in engines.items()} for _ in range(ROUNDS)
            ]
        medians = {name: round(statistics.median(each[name] for each in rounds), 2) for name in engines}
        rates = {name: medians.get(name, 0.0) for name in self.makers}  # 0: cannot be used here
        _remember(self._key, workload.key, rates)
        return engines[fastest_of(rates)]

    def _made(self, name: str) -> Engine | None:
        try:
            engine = self.makers[name]()
        except KeyError:
            raise  # int8 ranges of another network: the artifact is inconsistent
        except Exception as e:  # noqa: BLE001 - an engine that cannot be made is one that is not chosen
            logger.info("The engine %s cannot be made (%s)", name, " ".join(str(e).split())[:200])
            return None
        return None if engine is None else replace(engine, why=WHY, only_for_few=False)


def fastest_of(rates: Rates) -> str:
    """The simplest engine that is not slower than the fastest by more than a tie."""
    best = max(rates.values())
    return next(name for name, rate in rates.items() if rate >= (1 - TIE) * best)


def _makers(backbone: nn.Module, device: torch.device, ranges: Ranges | None, side_pixels: int) -> dict[str, Make]:
    makers: dict[str, Make] = {"eager": lambda: eager(backbone, device), "folded": lambda: folded(backbone, device)}
    if device.type == "cuda":
        return {**makers, "graph": lambda: graph(backbone, device)}
    makers["fused"] = lambda: fused(backbone, device)
    if is_installed():
        makers["openvino"] = functools.cache(lambda: openvino(backbone, side_pixels))
    if ranges:
        makers["int8"] = lambda: int8(backbone, ranges)
    return makers


@torch.inference_mode()
def _result(engine: Engine, batch: Tensor) -> Tensor | None:
    try:
        return engine.run(batch).float().cpu()
    except Exception as e:  # noqa: BLE001 - as above
        logger.info("The engine %s does not run here (%s)", engine.name, e)
        return None


def _is_close(result: Tensor, expected: Tensor) -> bool:
    return float((result - expected).abs().max()) <= _LARGEST_DIFFERENCE * float(expected.abs().max())


def _rate(engine: Engine, batch: Tensor, workload: Workload, pool: ThreadPoolExecutor) -> float:
    """Images per second of all threads together."""
    started = time.perf_counter()
    runs = sum(pool.map(lambda _: _run_for(engine, batch, workload), range(workload.threads)))
    return runs * workload.images / (time.perf_counter() - started)


@torch.inference_mode()
def _run_for(engine: Engine, batch: Tensor, workload: Workload) -> int:
    torch.set_num_threads(max(1, cpu_count() // workload.threads))  # of this thread
    until, runs = time.perf_counter() + ROUND_SECONDS, 0
    while time.perf_counter() < until or not runs:
        engine.run(batch)
        runs += 1
    if batch.is_cuda:
        torch.cuda.synchronize()
    return runs


def _key(backbone: nn.Module, device: torch.device, ranges: Ranges | None, side_pixels: int) -> str:
    """Speed depends on the layers, not on their weights."""
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{processor_name()}, {cpu_count()} cores"
    layers = hashlib.sha256(repr(backbone).encode()).hexdigest()[:16]
    return f"{layers} at {side_pixels}{', int8' if ranges else ''} on {where}, torch {torch.__version__}"


def processor_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file() -> Path:
    return home() / "cache" / "engines.json"


def _read() -> dict[str, dict[str, Rates]]:
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # not timed yet, or damaged: it is timed again
    return known if isinstance(known, dict) else {}


def _remember(key: str, workload: str, rates: Mapping[str, float]) -> None:
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with locked(file.with_name("engines.lock")):
            known = _read()
            known.setdefault(key, {})[workload] = dict(rates)
            replace_text(file, json.dumps(known, indent=1))
    except OSError as e:
        logger.info("Engine timings cannot be kept (%s); they are made again at the next start", e)
