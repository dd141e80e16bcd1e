"""How a frozen backbone is computed on a device, and why: the one place that chooses.

    fused      a network of convolutions on a CPU: BatchNorm folded into them, each run with the ReLU and the
               addition behind it as one oneDNN call, its weights laid out once
    folded     the same network on a GPU, or where oneDNN does not take it: BatchNorm folded, weights in bfloat16
    eager      any other network (attention, layer norms), or few images ahead (a retrain, one photo), for which
               making another engine would take longer than it saves: as it is, autocast where bfloat16 is native
    int8       a network of convolutions on a CPU that has instructions for it, where the artifact says that this was
               tried and changed next to nothing (`train --int8`): see int8.py
    compiled   the folded network through torch.compile, on a GPU: only when very many images are ahead, as compiling
               takes from ten seconds to two minutes (on a CPU it gained 5 % over fused: LOG.md)

All but int8 give the eager network's probabilities within the rounding of bfloat16
(tests/service/artifact/test_engine.py).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from handful.service.compute.device import has_native_bfloat16, has_native_int8
from handful.service.compute.folding import fold, fuse
from handful.service.compute.int8 import Ranges, quantised
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Name = Literal["eager", "folded", "fused", "int8", "compiled"]
Arithmetic = Literal["int8", "bf16", "fp32"]
Run = Callable[[Tensor], Tensor]  # (N, 3, S, S) float32 on the device -> (N, D) in any precision
FEW = 64  # images ahead up to which no engine is made: 16 are through before it is (LOG.md)
COMPILE_FROM = 20_000  # images ahead from which compiling pays on a GPU
_CONVOLUTIONS = "it is made of convolutions"
_TRIED = "it was trained with --int8, and that changed 1 % of the answers, or one, at most"
_TOLERANCE = 0.02  # of the largest embedding value: bfloat16 keeps eight bits


@dataclass(frozen=True)
class Engine:
    """A backbone ready to run."""

    run: Run
    name: Name
    low_precision: bool  # bfloat16; what int8 leaves is float32
    why: str
    for_few: bool = False  # to be exchanged when more images come

    @property
    def words(self) -> str:
        """Its name and what it computes in."""
        return self.name if self.name == "int8" else f"{self.name}-{'bf16' if self.low_precision else 'fp32'}"


def arithmetic(device: torch.device, ranges: Ranges | None = None) -> Arithmetic:
    """What the engine that is chosen for the device will compute in."""
    if ranges and has_native_int8(device):
        return "int8"
    return "bf16" if has_native_bfloat16(device) else "fp32"


def choose(backbone: nn.Module, device: torch.device, ranges: Ranges | None = None) -> Engine:
    """The fastest engine that needs no compiling; the backbone itself, frozen and on the device, is left as it is.

    With `ranges`, integers are fine where the device is fast at them.
    """
    precision = arithmetic(device, ranges)
    if ranges and precision == "int8":
        return integers(backbone, ranges)
    low_precision = precision == "bf16"
    network = fold(backbone, low_precision=low_precision)
    if network is None:
        why = "not convolutions alone, or not traceable"
        return Engine(autocast(backbone, device, low_precision=low_precision), "eager", low_precision, why)
    plain = Engine(_in_precision(network, low_precision=low_precision), "folded", low_precision, _CONVOLUTIONS)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch types it not
        return plain
    try:
        run = _in_precision(fuse(network), low_precision=low_precision)
        fused = Engine(run, "fused", low_precision, f"{_CONVOLUTIONS}, on a CPU")
        _check_same(fused, plain)
    except Exception as e:  # noqa: BLE001 - whatever another version of torch says of operators it does not promise
        logger.info("oneDNN does not take this network (%s); it runs unfused", e)
        return plain
    return fused


def as_it_is(backbone: nn.Module, device: torch.device) -> Engine:
    """What needs no making."""
    low_precision = has_native_bfloat16(device)
    run = autocast(backbone, device, low_precision=low_precision)
    return Engine(run, "eager", low_precision, "few images ahead", for_few=True)


def integers(backbone: nn.Module, ranges: Ranges) -> Engine:
    """Convolutions in 8-bit integers, on a CPU; KeyError where `ranges` are not this network's."""
    network = quantised(backbone, ranges)
    return Engine(network, "int8", low_precision=False, why=_TRIED)


def folded(backbone: nn.Module, device: torch.device) -> Engine | None:
    """BatchNorm inside the convolutions; None where that is not exact."""
    low_precision = has_native_bfloat16(device)
    network = fold(backbone, low_precision=low_precision)
    if network is None:
        return None
    return Engine(_in_precision(network, low_precision=low_precision), "folded", low_precision, _CONVOLUTIONS)


def compiled(backbone: nn.Module, batch: Tensor) -> Engine | None:
    """A compiled engine for batches of this shape, on its device; None where it cannot be had.

    Takes as long as compiling does.
    """
    plain = folded(backbone, batch.device)
    if plain is None or (batch.device.type == "cpu" and not shutil.which("g++")):
        return None
    run: Run = torch.compile(plain.run, dynamic=False, options={"freezing": True})
    try:
        with torch.inference_mode():
            run(batch)
    except Exception as e:  # noqa: BLE001 - a compiler that is broken, a graph that it cannot take
        logger.warning("torch.compile does not take this network (%s); it runs without", type(e).__name__)
        return None
    return Engine(run, "compiled", plain.low_precision, "very many images ahead")


def autocast(backbone: nn.Module, device: torch.device, *, low_precision: bool) -> Run:
    """As it is; torch chooses what is computed in bfloat16."""

    def run(batch: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            return cast("Tensor", backbone(batch))

    return run


def _in_precision(network: nn.Module, *, low_precision: bool) -> Run:
    precision = torch.bfloat16 if low_precision else torch.float32

    def run(batch: Tensor) -> Tensor:
        return cast("Tensor", network(batch.to(precision)))

    return run


def _check_same(fused: Engine, plain: Engine) -> None:
    """The operators of oneDNN are torch's own, but not promised to anybody: what they say is checked once."""
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = batch.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected, got = plain.run(batch).float(), fused.run(batch).float()
    if float((expected - got).abs().max()) > _TOLERANCE * float(expected.abs().max()):
        raise RuntimeError("its answers differ")
