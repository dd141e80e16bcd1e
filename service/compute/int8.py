"""A network of convolutions in 8-bit integers: half the bits of bfloat16, and on a CPU about twice the speed.

What each tensor can hold is measured once, on real photos (`calibrate`); weights are scaled per output channel,
activations per tensor (Jacob et al. 2018, "Quantization and training of neural networks for efficient
integer-arithmetic-only inference"). Convolutions take integers and hand integers on, with the addition and the ReLU
behind them; whatever else the network does is computed in float32. Sums of integers are exact: an answer does not
depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from handful.service.compute.folding import FusedConvolution, fold, fuse, module_of
from torch import Tensor, fx, nn
from torch.nn import functional as F

Ranges = dict[str, tuple[float, float]]  # a tensor's name in the network -> the least and the greatest value in it

LEVELS = 255
_LEAST_SCALE = 1e-12
_LEAST_SHARE = 0.75  # of the convolutions that must be handed integers by another: turning floats into them costs


def calibrate(backbone: nn.Module, batches: Iterable[Tensor]) -> Ranges | None:
    """What the tensors held on batches of `(N, 3, S, S)` float32; None for a network that integers do not suit."""
    folded = fold(backbone, low_precision=False)
    if folded is None:
        return None
    fused = fuse(folded)
    convolutions = [node for node in fused.graph.nodes if _is_convolution(fused, node)]
    chained = sum(_hands_on_integers(fused, cast("fx.Node", node.args[0])) for node in convolutions)
    if chained < _LEAST_SHARE * len(convolutions):
        return None
    observer = _Observer(fused)
    with torch.inference_mode():
        for batch in batches:
            observer.run(batch.to(memory_format=torch.channels_last))
    return observer.ranges


def quantised(backbone: nn.Module, ranges: Mapping[str, tuple[float, float]]) -> fx.GraphModule:
    """`(N, 3, S, S)` float32 -> `(N, D)` float32. KeyError where a tensor of the network has no range."""
    folded = fold(backbone, low_precision=False)
    if folded is None:
        raise KeyError("the network is not one of convolutions")
    weights = {name: layer.weight.detach() for name, layer in folded.named_modules() if type(layer) is nn.Conv2d}
    return _Rewriter(fuse(folded), weights, ranges).rewritten()


def _is_convolution(network: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(module_of(network, node), FusedConvolution)


def _hands_on_integers(network: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "placeholder" or isinstance(module_of(network, node), FusedConvolution | nn.MaxPool2d)


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


class _Observer(fx.Interpreter):
    """Runs the network and remembers the least and the greatest value of what convolutions take and give."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.network, self.ranges = network, Ranges()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if _is_convolution(self.network, n) or any(_is_convolution(self.network, user) for user in n.users):
            low, high = self.ranges.get(_name(n), (0.0, 0.0))  # nought itself must be exact: padding is made of it
            self.ranges[_name(n)] = min(low, float(value.min())), max(high, float(value.max()))
        return value


class _Scale:
    """value = (integer - zero) * scale"""

    def __init__(self, low: float, high: float) -> None:
        self.scale = max((high - low) / LEVELS, _LEAST_SCALE)
        self.zero = round(-low / self.scale)


class _Quantise(nn.Module):
    def __init__(self, scale: _Scale) -> None:
        super().__init__()
        self.inverse = 1 / scale.scale
        self.register_buffer("offset", torch.tensor(scale.zero + 0.5), persistent=False)  # to uint8 means cutting off

    def forward(self, values: Tensor) -> Tensor:
        return torch.add(cast("Tensor", self.offset), values, alpha=self.inverse).clamp_(0, LEVELS).to(torch.uint8)


class _Dequantise(nn.Module):
    def __init__(self, scale: _Scale) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        return values.float().sub_(self.scale.zero).mul_(self.scale.scale)


class _MaxPool(nn.Module):
    """Of integers that are never below nought, which torch's own does not take."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.padding, self.axes = _pair(pool.padding), [*zip(_pair(pool.kernel_size), _pair(pool.stride), strict=True)]

    def forward(self, values: Tensor) -> Tensor:
        down, across = self.padding
        values = F.pad(values, (across, across, down, down)) if down or across else values
        for dim, (size, stride) in enumerate(self.axes, 2):
            last = values.shape[dim] - size + 1
            shifted = [values.narrow(dim, first, last) for first in range(size)]
            strided = [part[:, :, ::stride] if dim == 2 else part[..., ::stride] for part in shifted]
            values = strided[0]
            for part in strided[1:]:
                values = torch.maximum(values, part)
        return values


class _Convolution(nn.Module):
    """oneDNN's convolution of integers, with the addition and the ReLU behind it."""

    def __init__(self, fused: FusedConvolution, weight: Tensor, scales: tuple[_Scale, _Scale]) -> None:
        super().__init__()
        taken, given = scales
        channels = (weight.abs().amax((1, 2, 3)) / 127).clamp_(min=_LEAST_SCALE)
        integers = (weight / channels[:, None, None, None]).round().clamp_(-127, 127).to(torch.int8)
        padding, stride, dilation, groups = fused.where
        self.where = (stride, padding, dilation, groups)
        packed = torch.ops.onednn.qconv_prepack(integers, channels, taken.scale, taken.zero, *self.where, None)
        zeros = torch.zeros(len(channels), dtype=torch.int64)
        self.layer = (taken.scale, taken.zero, packed, channels, zeros)
        bias = fused.bias if fused.bias is not None else torch.zeros(len(channels))
        self.bias = bias.detach().float()
        self.given = (given.scale, given.zero, torch.uint8)
        self.relu = "relu" if fused.relu else "none"

    def forward(self, values: Tensor) -> Tensor:
        run = torch.ops.onednn.qconv2d_pointwise
        return cast("Tensor", run(values, *self.layer, self.bias, *self.where, *self.given, self.relu, [], ""))


class _AddingConvolution(_Convolution):
    """The same with another tensor added, in whose memory the sum is written."""

    def __init__(
        self, fused: FusedConvolution, weight: Tensor, scales: tuple[_Scale, _Scale], added: _Scale, *, keep: bool
    ) -> None:
        super().__init__(fused, weight, scales)
        self.added, self.keep = (added.scale, added.zero), keep

    def forward(self, values: Tensor, added: Tensor) -> Tensor:  # type: ignore[override]  # one input more
        run = torch.ops.onednn.qconv2d_pointwise.binary
        added = added.clone() if self.keep else added
        sum_: tuple[Any, ...] = (*self.given, *self.added, "sum", 1.0, self.relu, [], "")
        return cast("Tensor", run(values, *self.layer, added, self.bias, *self.where, *sum_))


class _Rewriter:
    """One pass over a fused float32 graph; remembers which nodes hold integers, and on which scale."""

    def __init__(
        self, network: fx.GraphModule, weights: Mapping[str, Tensor], ranges: Mapping[str, tuple[float, float]]
    ) -> None:
        self.network, self.weights, self.ranges = network, weights, ranges
        self.scales: dict[fx.Node, _Scale] = {}
        self.turned: dict[fx.Node, fx.Node] = {}  # a node -> the same as integers, or as floats

    def rewritten(self) -> fx.GraphModule:
        order = {node: number for number, node in enumerate(self.network.graph.nodes)}
        for node in list(self.network.graph.nodes):
            layer = module_of(self.network, node)
            if isinstance(layer, FusedConvolution):
                self._rewrite(node, layer, order)
            elif isinstance(layer, nn.MaxPool2d) and node.args[0] in self.scales and _simple(layer):
                self.network.set_submodule(str(node.target), _MaxPool(layer))
                self.scales[node] = self.scales[node.args[0]]
            else:
                node.args = fx.map_arg(node.args, self._as_floats)
                node.kwargs = fx.map_arg(node.kwargs, self._as_floats)
        self.network.graph.lint()
        self.network.recompile()
        return self.network

    def _rewrite(self, node: fx.Node, layer: FusedConvolution, order: Mapping[fx.Node, int]) -> None:
        sources = [cast("fx.Node", arg) for arg in node.args]
        read_later = any(order.get(user, 0) > order[node] for source in sources[1:] for user in source.users)
        inputs = [self._as_integers(source) for source in sources]
        low, high = self.ranges[_name(node)]
        given = _Scale(0.0 if layer.relu else low, high)
        scales = (self.scales[inputs[0]], given)
        weight = self.weights[str(node.target)]
        quantised: nn.Module
        if len(inputs) == 1:
            quantised = _Convolution(layer, weight, scales)
        else:
            keep = read_later or inputs[0] is inputs[1]
            quantised = _AddingConvolution(layer, weight, scales, self.scales[inputs[1]], keep=keep)
        self.network.set_submodule(str(node.target), quantised)
        node.args = tuple(inputs)
        self.scales[node] = given

    def _as_integers(self, node: fx.Node) -> fx.Node:
        if node in self.scales:
            return node
        if node not in self.turned:
            scale = _Scale(*self.ranges[_name(node)])
            self.turned[node] = self._insert(node, f"int8_{node.name}", _Quantise(scale))
            self.scales[self.turned[node]] = scale
        return self.turned[node]

    def _as_floats(self, node: fx.Node) -> fx.Node:
        if node not in self.scales:
            return node
        if node not in self.turned:
            self.turned[node] = self._insert(node, f"float_{node.name}", _Dequantise(self.scales[node]))
        return self.turned[node]

    def _insert(self, node: fx.Node, name: str, layer: nn.Module) -> fx.Node:
        self.network.add_submodule(name, layer)
        with self.network.graph.inserting_after(node):
            return self.network.graph.call_module(name, (node,))


def _simple(pool: nn.MaxPool2d) -> bool:
    return _pair(pool.dilation) == (1, 1) and not pool.ceil_mode and not pool.return_indices


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
