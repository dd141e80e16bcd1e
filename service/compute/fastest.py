"""Which engines are the fastest for a network on this machine: timed once, then remembered.

No rule holds from one processor to the next: fused convolutions are the fastest way on one processor with bfloat16 and
the slowest on another. So the engines take turns, for one image on all cores and for full batches, several in parallel,
as `classify` runs them. timings.py keeps the results, by network, device, cores and version of torch. Training follows
a fixed rule instead (`engine.choose_engine`), so that the same photos and seed give the same artifact.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from handful.service.compute.device import cpu_count
from handful.service.compute.engine import Engine, eager, folded, fused, graph, int8, openvino
from handful.service.compute.int8 import Ranges
from handful.service.compute.openvino_library import is_installed
from handful.service.compute.timings import WHY, Rates, Workload, fastest_of, processor_name, remember, remembered
from torch import Tensor, nn

logger = logging.getLogger(__name__)
ROUNDS = 3
ROUND_SECONDS = 0.08
_LARGEST_DIFFERENCE = 0.1  # of the largest embedding value, from eager: bfloat16 moves a gated network by 0.04
Make = Callable[[], Engine | None]


class EngineTimings:
    """The engines of one network on one device, for input of `side_pixels`."""

    def __init__(self, backbone: nn.Module, device: torch.device, ranges: Ranges | None, side_pixels: int) -> None:
        self.device, self.shape = device, (3, side_pixels, side_pixels)
        self.key = _key(backbone, device, ranges, side_pixels)
        self.makers = _makers(backbone, device, ranges, side_pixels)

    def rates(self, workload: Workload) -> Rates | None:
        """What is remembered; None where an engine has not been timed here."""
        rates = remembered(self.key, workload)
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
        remember(self.key, workload, rates)
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
