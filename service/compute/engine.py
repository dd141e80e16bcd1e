"""The engines that compute a frozen backbone on a device; `choose_engine` picks one and says why.

    fused      a convolutional network on a CPU: BatchNorm is folded into the convolutions, and each convolution runs
               together with the addition and the ReLU that follow it as one oneDNN call with prepacked weights
    folded     the same network on a GPU, or where oneDNN does not take it: BatchNorm folded, weights in bfloat16
    eager      any other network (attention, layer norms), and any network when only few images are expected (a
               retrain, one photo), as preparing another engine would take longer than it saves: the unchanged
               network under autocast, where bfloat16 is native
    int8       a convolutional network on a CPU with 8-bit instructions, if the artifact says that int8 was tried and
               changed almost no answers (`train --int8`): see int8.py
    openvino   a convolutional network through OpenVINO on a CPU, with the extra `openvino`; only by timing
    graph      the folded network, or the unchanged one under autocast, recorded as a CUDA graph, per batch size: one
               image is three to ten times as fast
    compiled   the folded network through torch.compile, on a GPU: only when very many images are expected, as
               compiling takes ten seconds to two minutes (on a CPU it gained 5 % over fused: training/LOG.md)

`choose_engine` follows a fixed rule, so that training gives the same artifact each time. Where answers are wanted fast,
fastest.py times the engines instead.

All except int8 give the eager network's probabilities within the rounding of bfloat16
(tests/service/compute/test_engine.py).
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from handful.service.compute.device import has_native_bfloat16, has_native_int8
from handful.service.compute.folding import fold, fuse, starts_in_float32
from handful.service.compute.int8 import Ranges, quantised
from handful.service.compute.timm_library import EfficientNet
from torch import Tensor, nn

logger = logging.getLogger(__name__)

EngineName = Literal["eager", "folded", "fused", "openvino", "int8", "graph", "compiled"]
Arithmetic = Literal["int8", "bf16", "fp32"]
Run = Callable[[Tensor], Tensor]  # (N, 3, S, S) float32 on the device -> (N, D) in any precision
FEW_IMAGES = 64  # up to this many expected images no engine is prepared: preparing takes as long as 16 images (LOG.md)
COMPILE_FROM = 20_000  # expected images from which compiling pays on a GPU
_CONVOLUTIONS = "the network is convolutional"
_TRIED = "`handful train --int8` tried it: it changed at most 1 % of its answers, or one answer"
_TOLERANCE = 0.02  # of the largest embedding value: bfloat16 keeps eight bits


@dataclass(frozen=True)
class Engine:
    """A backbone that is ready to run."""

    run: Run
    name: EngineName
    low_precision: bool  # bfloat16; the layers that int8 does not convert run in float32
    why: str
    only_for_few: bool = False  # to be replaced when more images are expected

    @property
    def label(self) -> str:
        """The engine's name with its precision, such as `fused-bf16`."""
        return self.name if self.name == "int8" else f"{self.name}-{'bf16' if self.low_precision else 'fp32'}"


def arithmetic(device: torch.device, ranges: Ranges | None = None) -> Arithmetic:
    """The arithmetic of the engine that `choose_engine` will choose for the device."""
    if ranges and has_native_int8(device):
        return "int8"
    return "bf16" if has_native_bfloat16(device) else "fp32"


def choose_engine(backbone: nn.Module, device: torch.device, ranges: Ranges | None = None) -> Engine:
    """By rule: int8, fused, folded or eager. The backbone must be frozen and on the device; it is not changed.

    With `ranges` the engine may be int8, if the device has 8-bit instructions; KeyError if they are another network's.
    """
    if ranges and arithmetic(device, ranges) == "int8":
        return int8(backbone, ranges)
    unfused = folded(backbone, device)
    if unfused is None:
        why = "the network is not convolutional, or torch.fx cannot trace it"
        low_precision = has_native_bfloat16(device)
        return Engine(autocast(backbone, device, low_precision=low_precision), "eager", low_precision, why)
    return fused(backbone, device) or unfused


def eager(backbone: nn.Module, device: torch.device) -> Engine:
    """The unchanged network: needs no preparation."""
    low_precision = has_native_bfloat16(device)
    run = autocast(backbone, device, low_precision=low_precision)
    return Engine(run, "eager", low_precision, "few images are expected", only_for_few=True)


def int8(backbone: nn.Module, ranges: Ranges) -> Engine:
    """Convolutions in 8-bit integers, on a CPU; KeyError if `ranges` are another network's."""
    network = quantised(backbone, ranges)
    return Engine(network, "int8", low_precision=False, why=_TRIED)


def folded(backbone: nn.Module, device: torch.device) -> Engine | None:
    """BatchNorm folded into the convolutions; None if the network is not convolutional."""
    low_precision = has_native_bfloat16(device)
    network = fold(backbone, low_precision=low_precision)
    if network is None:
        return None
    return Engine(_in_precision(network, low_precision=low_precision), "folded", low_precision, _CONVOLUTIONS)


def fused(backbone: nn.Module, device: torch.device) -> Engine | None:
    """Each folded convolution as one oneDNN call with what follows it; None where oneDNN does not take the network."""
    unfused = folded(backbone, device)
    if unfused is None or device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return None
    low_precision = unfused.low_precision
    try:
        network = fold(backbone, low_precision=low_precision)
        assert network is not None  # noqa: S101 - it was folded above
        run = _in_precision(fuse(network), low_precision=low_precision)
        engine = Engine(run, "fused", low_precision, f"{_CONVOLUTIONS}, and runs on a CPU")
        _check_same(engine, unfused)
    except Exception as e:  # noqa: BLE001 - these operators are private to torch: another version may raise anything
        logger.info("oneDNN does not take this network (%s); it runs unfused", e)
        return None
    return engine


def openvino(backbone: nn.Module, side_pixels: int) -> Engine:
    """Through OpenVINO, for input of this side, on a CPU; `NotImplementedError` where it lacks one of the layers."""
    from handful.service.compute.openvino import OpenVinoNetwork

    low_precision = has_native_bfloat16(torch.device("cpu"))
    network = OpenVinoNetwork(backbone, side_pixels, low_precision=low_precision)
    return Engine(network, "openvino", low_precision, f"{_CONVOLUTIONS}, and OpenVINO is installed")


def graph(backbone: nn.Module, device: torch.device) -> Engine | None:
    """The folded or unchanged network as CUDA graphs, each recorded when its batch size is seen; None without a GPU."""
    if device.type != "cuda":
        return None
    plain = folded(backbone, device) or eager(backbone, device)
    return Engine(CudaGraphs(plain.run), "graph", plain.low_precision, "one launch per batch instead of one per layer")


class CudaGraphs:
    """Replays recorded work. Input and output lie in fixed memory, so one batch runs at a time.

    All graphs work in the same memory: an output is copied before the next replay begins.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._lock, self._memory = run, threading.Lock(), torch.cuda.graph_pool_handle()
        self._recorded: dict[torch.Size, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}

    def __call__(self, batch: Tensor) -> Tensor:
        with self._lock:
            if batch.shape not in self._recorded:
                self._recorded[batch.shape] = self._record(batch)
            graph, fixed, output = self._recorded[batch.shape]
            fixed.copy_(batch)
            graph.replay()
            return output.clone()

    def _record(self, batch: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        fixed = batch.clone(memory_format=torch.channels_last)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._run(fixed)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            output = self._run(fixed)
        return graph, fixed, output


def compiled(backbone: nn.Module, batch: Tensor) -> Engine | None:
    """An engine compiled for the shape and device of `batch`; None if it cannot be compiled here.

    Compiles before it returns: ten seconds to two minutes.
    """
    plain = folded(backbone, batch.device)
    if plain is None or (batch.device.type == "cpu" and not shutil.which("g++")):
        return None
    run: Run = torch.compile(plain.run, dynamic=False, options={"freezing": True})
    try:
        with torch.inference_mode():
            run(batch)
    except Exception as e:  # noqa: BLE001 - a broken compiler or an unsupported graph may raise anything
        logger.warning("torch.compile failed on this network (%s); it runs uncompiled", type(e).__name__)
        return None
    return Engine(run, "compiled", plain.low_precision, "very many images are expected")


def autocast(backbone: nn.Module, device: torch.device, *, low_precision: bool) -> Run:
    """The network as it is; with `low_precision`, torch chooses which operations run in bfloat16."""
    if low_precision and starts_in_float32(backbone):
        return _late_autocast(cast("EfficientNet", backbone), device)

    def run(batch: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            return cast("Tensor", backbone(batch))

    return run


def _late_autocast(backbone: EfficientNet, device: torch.device) -> Run:
    """As `autocast`, but `FLOAT32_LAYERS` run in float32."""

    def run(batch: Tensor) -> Tensor:
        batch = backbone.blocks[0](backbone.bn1(backbone.conv_stem(batch)))
        with torch.autocast(device.type, torch.bfloat16):
            for stage in backbone.blocks[1:]:
                batch = stage(batch)
            return backbone.forward_head(backbone.bn2(backbone.conv_head(batch)))

    return run


def _in_precision(network: nn.Module, *, low_precision: bool) -> Run:
    precision = torch.bfloat16 if low_precision else torch.float32

    def run(batch: Tensor) -> Tensor:
        return cast("Tensor", network(batch.to(precision)))

    return run


def _check_same(fused: Engine, unfused: Engine) -> None:
    """Compares both once on noise: oneDNN's operators are private to torch, so their meaning may change."""
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = batch.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected, got = unfused.run(batch).float(), fused.run(batch).float()
    if float((expected - got).abs().max()) > _TOLERANCE * float(expected.abs().max()):
        raise RuntimeError("its embeddings differ from the unfused network's")
