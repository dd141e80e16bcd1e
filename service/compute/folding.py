"""Convolutional networks as graphs: BatchNorm folded into the convolutions, the layers that follow fused with them.

`torch.nn.utils.fusion` folds with the same formula, but rounds the weights once where this module rounds the scale
first: a quarter of the folded weights would change in their last bit, and with them every embedding that is stored.
"""

from __future__ import annotations

import copy
import logging
import operator
import threading
from collections.abc import Callable
from itertools import chain
from typing import Any, cast

import torch
from handful.service.compute.timm_library import BatchNormAct2d, Conv2dSame, EfficientNet
from torch import Tensor, fx, nn

logger = logging.getLogger(__name__)

_LAYERS: set[type[nn.Module]] = {nn.Conv2d, nn.BatchNorm2d, BatchNormAct2d, nn.Linear}
_ADDITIONS = {operator.add, operator.iadd, torch.add}
FLOAT32_LAYERS = ("conv_stem", "bn1", "blocks.0")  # of an EfficientNet that runs in bfloat16: see below
_TRACING = (
    threading.Lock()
)  # torch.fx patches methods of nn.Module while it traces: two traces at once would mix them up


class _Tracer(fx.Tracer):
    """Keeps timm's BatchNorm with activation as one module, so that it can be folded.

    While torch traces, the module calls of every thread arrive here: those of other threads, such as the ones that
    answer requests, run as usual.
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
        return isinstance(m, BatchNormAct2d | Conv2dSame) or super().is_leaf_module(m, module_qualified_name)


def starts_in_float32(backbone: nn.Module) -> bool:
    """Whether `FLOAT32_LAYERS` are to be computed in float32 where the rest is not.

    An EfficientNet's first layers are few channels wide, and later ones enlarge their rounding: in bfloat16 throughout,
    the smallest cosine to float32 over 670 photos is 0.988, with these layers in float32 it is 0.9996.
    """
    return isinstance(backbone, EfficientNet)


def trace(network: nn.Module) -> fx.Graph:
    """The network's layers in the order in which they are called; code that cannot be traced may raise anything."""
    with _TRACING:
        return _Tracer().trace(network)


def fold(backbone: nn.Module, *, low_precision: bool) -> fx.GraphModule | None:
    """A copy without identities, each BatchNorm folded into the convolution before it; None if not convolutional.

    A BatchNorm that follows no convolution keeps its float32 weights.
    """
    layers = {type(m) for m in backbone.modules() if next(m.parameters(recurse=False), None) is not None}
    if nn.Conv2d not in layers or not layers <= _LAYERS:
        return None
    tensors = chain(backbone.parameters(), backbone.buffers())
    network = copy.deepcopy(
        backbone, {id(each): each for each in tensors}
    )  # shared with the backbone until new ones replace them below
    try:
        graph = trace(network)
    except Exception as e:  # noqa: BLE001 - code that cannot be traced may raise anything
        logger.info("%s cannot be folded: %s", type(backbone).__name__, e)
        return None
    folded = fx.GraphModule(network, graph)
    if _shares_weights(folded):
        return None
    _fold_all(folded)
    for layer in folded.modules():
        if low_precision and isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight = _fixed(layer.weight.bfloat16())
            layer.bias = None if layer.bias is None else _fixed(layer.bias.bfloat16())
    return folded.to(memory_format=torch.channels_last)


def _fixed(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


def _fold_all(network: fx.GraphModule) -> None:
    for node in list(network.graph.nodes):
        module = module_of(network, node)
        if isinstance(module, nn.Identity | nn.Dropout):
            _replace(node, node.args[0])
        elif isinstance(module, nn.BatchNorm2d) and _foldable(module):
            _fold_one(network, node, module)
    network.graph.lint()
    network.delete_all_unused_submodules()
    network.recompile()


def _shares_weights(network: fx.GraphModule) -> bool:
    """Whether a layer with weights is called twice: a BatchNorm after one call must not be folded into the other."""
    called = [node.target for node in network.graph.nodes if type(module_of(network, node)) in _LAYERS]
    return len(called) != len(set(called))


def _foldable(norm: nn.BatchNorm2d) -> bool:
    statistics = norm.running_mean is not None and norm.running_var is not None
    return statistics and isinstance(getattr(norm, "drop", nn.Identity()), nn.Identity)


def _fold_one(network: fx.GraphModule, node: fx.Node, norm: nn.BatchNorm2d) -> None:
    """With s = g / sqrt(v + e): w' = w s, b' = (b - m) s + bias, if this BatchNorm alone reads the convolution."""
    source = cast("fx.Node", node.args[0])
    convolution = module_of(network, source)
    if type(convolution) is not nn.Conv2d or len(source.users) != 1:
        return
    scale = torch.rsqrt(cast("Tensor", norm.running_var).double() + norm.eps)
    scale = scale * norm.weight.double() if norm.affine else scale
    bias = -cast("Tensor", norm.running_mean).double()
    bias = bias + convolution.bias.double() if convolution.bias is not None else bias
    bias = bias * scale + (norm.bias.double() if norm.affine else 0)
    convolution.weight = _fixed(convolution.weight * scale[:, None, None, None].float())
    convolution.bias = _fixed(bias.float())
    activation = getattr(norm, "act", nn.Identity())
    if isinstance(activation, nn.Identity):
        _replace(node, source)
    else:
        network.set_submodule(cast("str", node.target), activation)


class FusedConvolution(nn.Module):
    """oneDNN's convolution together with what follows it: an addition of the same shape, a ReLU, both or neither."""

    def __init__(self, convolution: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        geometry = (convolution.padding, convolution.stride, convolution.dilation)
        self.geometry: tuple[Any, ...] = (
            *(list(cast("tuple[int, int]", each)) for each in geometry),
            convolution.groups,
        )
        self.packed_weight = torch.ops.mkldnn._reorder_convolution_weight(convolution.weight.detach(), *self.geometry)
        self.bias = convolution.bias
        self.relu = relu

    def forward(self, batch: Tensor, added: Tensor | None = None) -> Tensor:
        run = torch.ops.mkldnn._convolution_pointwise
        layer = (self.packed_weight, self.bias, *self.geometry)
        if added is None:
            return cast("Tensor", run(batch, *layer, "relu" if self.relu else "none", [], ""))
        return cast("Tensor", run(batch, added, *layer, "add", 1.0, "relu" if self.relu else None, [], ""))


def fuse(folded: fx.GraphModule) -> fx.GraphModule:
    """A copy whose convolutions are oneDNN's, each fused with the addition and the ReLU that follow it."""
    fused = fx.GraphModule(folded, copy.deepcopy(folded.graph))  # unchanged layers are shared
    order = {node: number for number, node in enumerate(fused.graph.nodes)}
    for node in reversed(
        list(fused.graph.nodes)
    ):  # from the end: nothing that follows a convolution has been erased yet
        if type(module_of(fused, node)) is nn.Conv2d:
            _fuse_one(fused, node, order)
    fused.graph.lint()
    fused.recompile()
    return fused


def _fuse_one(network: fx.GraphModule, node: fx.Node, order: dict[fx.Node, int]) -> None:
    convolution = cast("nn.Conv2d", module_of(network, node))
    if convolution.padding_mode != "zeros" or isinstance(convolution.padding, str):
        return
    inputs, last = [node.args[0]], node
    addition = _only_user(last)
    if addition is not None and addition.op == "call_function" and addition.target in _ADDITIONS:
        other = next((a for a in addition.args if a is not node), None)
        if isinstance(other, fx.Node) and not addition.kwargs and order[other] < order[node]:
            inputs, last = [node.args[0], other], addition
    following = _only_user(last)
    relu = following is not None and isinstance(module_of(network, following), nn.ReLU)
    last = following if relu and following is not None else last
    network.set_submodule(cast("str", node.target), FusedConvolution(convolution, relu=relu))
    node.args = tuple(inputs)
    while last is not node:  # the addition and the ReLU are now part of the convolution
        before = node if _only_user(node) is last else cast("fx.Node", _only_user(node))
        _replace(last, before)
        last = before


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return network.get_submodule(cast("str", node.target)) if node.op == "call_module" else None


def _replace(node: fx.Node, by: Any) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)
