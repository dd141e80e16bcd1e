"""How a frozen backbone is computed on a device, and why: the one place that chooses.

    fused      a network of convolutions on a CPU: BatchNorm folded into them, each run with the ReLU and the
               addition behind it as one oneDNN call, its weights laid out once
    folded     the same network on a GPU, or where oneDNN does not take it: BatchNorm folded, weights in bfloat16
    eager      any other network (attention, layer norms): as it is, autocast where bfloat16 is native
    compiled   the folded network through torch.compile: only when very many images are ahead, as compiling takes
               from ten seconds to two minutes

All give the eager network's probabilities within the rounding of bfloat16 (tests/service/artifact/test_engine.py).
"""

from __future__ import annotations

import copy
import logging
import operator
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, fx, nn

from service.artifact.device import has_native_bfloat16

logger = logging.getLogger(__name__)

Name = Literal["eager", "folded", "fused", "compiled"]
Run = Callable[[Tensor], Tensor]  # (N, 3, S, S) float32 on the device -> (N, D) in any precision
# Images ahead from which compiling pays: on two cores it took 40 s and made a ResNet-18 8 to 12 % faster (LOG.md).
COMPILE_FROM = {"cpu": 100_000, "cuda": 20_000}
_LAYERS: set[type[nn.Module]] = {nn.Conv2d, nn.BatchNorm2d, BatchNormAct2d, nn.Linear}
_ADDITIONS = {operator.add, operator.iadd, torch.add}
_CONVOLUTIONS = "it is made of convolutions"
_TRACING = threading.Lock()  # torch.fx exchanges methods of nn.Module while it traces: two at once would mix them up
_TOLERANCE = 0.02  # of the largest embedding value: bfloat16 keeps eight bits


@dataclass(frozen=True)
class Engine:
    """A backbone ready to run."""

    run: Run
    name: Name
    low_precision: bool  # bfloat16
    why: str

    @property
    def arithmetic(self) -> str:
        """The same for the same embeddings on one machine."""
        return f"{self.name}-{'bf16' if self.low_precision else 'fp32'}"


def choose(backbone: nn.Module, device: torch.device) -> Engine:
    """The fastest engine that needs no compiling; the backbone itself, frozen and on the device, is left as it is."""
    low_precision = has_native_bfloat16(device)
    network = _fold(backbone, low_precision=low_precision)
    if network is None:
        why = "not convolutions alone, or not traceable"
        return Engine(autocast(backbone, device, low_precision=low_precision), "eager", low_precision, why)
    plain = Engine(_in_precision(network, low_precision=low_precision), "folded", low_precision, _CONVOLUTIONS)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch types it not
        return plain
    try:
        run = _in_precision(_fuse(network), low_precision=low_precision)
        fused = Engine(run, "fused", low_precision, f"{_CONVOLUTIONS}, on a CPU")
        _check_same(fused, plain)
    except Exception as e:  # noqa: BLE001 - whatever another version of torch says of operators it does not promise
        logger.info("oneDNN does not take this network (%s); it runs unfused", e)
        return plain
    return fused


def folded(backbone: nn.Module, device: torch.device) -> Engine | None:
    """BatchNorm inside the convolutions; None where that is not exact."""
    low_precision = has_native_bfloat16(device)
    network = _fold(backbone, low_precision=low_precision)
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


class _Tracer(fx.Tracer):
    """timm's BatchNorm with its activation stays one module, so that it can be folded.

    While torch traces, the calls of every thread come through here: another's, where the champion answers, go on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, BatchNormAct2d) or super().is_leaf_module(m, module_qualified_name)


def _fold(backbone: nn.Module, *, low_precision: bool) -> fx.GraphModule | None:
    """A copy without identities and with BatchNorm inside the convolution before it; None: not a network of those.

    BatchNorm that follows no convolution keeps its float32 weights.
    """
    layers = {type(m) for m in backbone.modules() if next(m.parameters(recurse=False), None) is not None}
    if nn.Conv2d not in layers or not layers <= _LAYERS:
        return None
    network = copy.deepcopy(backbone)
    try:
        with _TRACING:
            graph = _Tracer().trace(network)
    except Exception as e:  # noqa: BLE001 - whatever a forward does that cannot be traced
        logger.info("%s cannot be folded: %s", type(backbone).__name__, e)
        return None
    folded = fx.GraphModule(network, graph)
    if _shares_weights(folded):
        return None
    _fold_all(folded)
    for layer in folded.modules():
        if low_precision and isinstance(layer, nn.Conv2d | nn.Linear):
            layer.to(torch.bfloat16)
    return folded.to(memory_format=torch.channels_last)


def _fold_all(network: fx.GraphModule) -> None:
    for node in list(network.graph.nodes):
        module = _module(network, node)
        if isinstance(module, nn.Identity | nn.Dropout):
            _replace(node, node.args[0])
        elif isinstance(module, nn.BatchNorm2d) and _foldable(module):
            _fold_one(network, node, module)
    network.graph.lint()
    network.delete_all_unused_submodules()
    network.recompile()


def _shares_weights(network: fx.GraphModule) -> bool:
    """Whether a layer with weights is called twice: what follows one call must not be folded into the other."""
    called = [node.target for node in network.graph.nodes if type(_module(network, node)) in _LAYERS]
    return len(called) != len(set(called))


def _foldable(norm: nn.BatchNorm2d) -> bool:
    statistics = norm.running_mean is not None and norm.running_var is not None
    return statistics and isinstance(getattr(norm, "drop", nn.Identity()), nn.Identity)


def _fold_one(network: fx.GraphModule, node: fx.Node, norm: nn.BatchNorm2d) -> None:
    """With s = g / sqrt(v + e): w' = w s, b' = (b - m) s + bias, if only this BatchNorm reads the convolution."""
    source = cast("fx.Node", node.args[0])
    convolution = _module(network, source)
    if type(convolution) is not nn.Conv2d or len(source.users) != 1:
        return
    scale = torch.rsqrt(cast("Tensor", norm.running_var).double() + norm.eps)
    scale = scale * norm.weight.double() if norm.affine else scale
    bias = -cast("Tensor", norm.running_mean).double()
    bias = bias + convolution.bias.double() if convolution.bias is not None else bias
    bias = bias * scale + (norm.bias.double() if norm.affine else 0)
    weight = convolution.weight.double() * scale[:, None, None, None]
    convolution.weight = nn.Parameter(weight.float(), requires_grad=False)
    convolution.bias = nn.Parameter(bias.float(), requires_grad=False)
    activation = getattr(norm, "act", nn.Identity())
    if isinstance(activation, nn.Identity):
        _replace(node, source)
    else:
        network.set_submodule(cast("str", node.target), activation)


class _FusedConvolution(nn.Module):
    """oneDNN's convolution with what comes behind it: an addition of the same shape, a ReLU, both or nothing."""

    def __init__(self, convolution: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        where = (convolution.padding, convolution.stride, convolution.dilation)
        self.where: tuple[Any, ...] = (*(list(cast("tuple[int, int]", each)) for each in where), convolution.groups)
        self.weight_as_onednn = torch.ops.mkldnn._reorder_convolution_weight(convolution.weight.detach(), *self.where)
        self.bias = convolution.bias
        self.relu = relu

    def forward(self, batch: Tensor, added: Tensor | None = None) -> Tensor:
        run = torch.ops.mkldnn._convolution_pointwise
        layer = (self.weight_as_onednn, self.bias, *self.where)
        if added is None:
            return cast("Tensor", run(batch, *layer, "relu" if self.relu else "none", [], ""))
        return cast("Tensor", run(batch, added, *layer, "add", 1.0, "relu" if self.relu else None, [], ""))


def _fuse(folded: fx.GraphModule) -> fx.GraphModule:
    """A copy whose convolutions are oneDNN's, each with the addition and the ReLU behind it."""
    fused = copy.deepcopy(folded)
    order = {node: number for number, node in enumerate(fused.graph.nodes)}
    for node in reversed(list(fused.graph.nodes)):  # from the end: what comes behind a convolution is still there
        if type(_module(fused, node)) is nn.Conv2d:
            _fuse_one(fused, node, order)
    fused.graph.lint()
    fused.recompile()
    return fused


def _fuse_one(network: fx.GraphModule, node: fx.Node, order: dict[fx.Node, int]) -> None:
    convolution = cast("nn.Conv2d", _module(network, node))
    if convolution.padding_mode != "zeros" or isinstance(convolution.padding, str):
        return
    inputs, last = [node.args[0]], node
    addition = _only_user(last)
    if addition is not None and addition.op == "call_function" and addition.target in _ADDITIONS:
        other = next((a for a in addition.args if a is not node), None)
        if isinstance(other, fx.Node) and not addition.kwargs and order[other] < order[node]:
            inputs, last = [node.args[0], other], addition
    behind = _only_user(last)
    relu = behind is not None and isinstance(_module(network, behind), nn.ReLU)
    last = behind if relu and behind is not None else last
    network.set_submodule(cast("str", node.target), _FusedConvolution(convolution, relu=relu))
    node.args = tuple(inputs)
    while last is not node:  # the addition and the ReLU are now in the convolution
        before = node if _only_user(node) is last else cast("fx.Node", _only_user(node))
        _replace(last, before)
        last = before


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _module(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return network.get_submodule(cast("str", node.target)) if node.op == "call_module" else None


def _replace(node: fx.Node, by: Any) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)
