"""A convolutional network in 8-bit integers: half the bits of bfloat16, and on a CPU about twice the speed.

The range of each tensor is measured once, on real photos (`calibrate`); weights are scaled per output channel,
activations per tensor (Jacob et al. 2018, "Quantization and training of neural networks for efficient
integer-arithmetic-only inference"). Convolutions, fused with the addition and the ReLU that follow them, read and
write integers; all other layers run in float32. Sums of integers are exact, so an image's embedding does not depend
on the other images of its batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from handful.service.compute.folding import FusedConvolution, fold, fuse, module_of
from torch import Tensor, fx, nn
from torch.nn import functional as F

Ranges = dict[str, tuple[float, float]]  # a tensor's name in the network -> its smallest and largest value

LEVELS = 255
_LEAST_SCALE = 1e-12
_LEAST_SHARE = 0.75  # of the convolutions must read another layer's integers: converting floats costs time


def calibrate(backbone: nn.Module, batches: Iterable[Tensor]) -> Ranges | None:
    """The tensors' ranges on batches of `(N, 3, S, S)` float32; None if int8 would not speed the network up."""
    folded = fold(backbone, low_precision=False)
    if folded is None:
        return None
    fused = fuse(folded)
    convolutions = [node for node in fused.graph.nodes if _is_convolution(fused, node)]
    chained = sum(_outputs_integers(fused, cast("fx.Node", node.args[0])) for node in convolutions)
    if chained < _LEAST_SHARE * len(convolutions):
        return None
    observer = _Observer(fused)
    with torch.inference_mode():
        for batch in batches:
            observer.run(batch.to(memory_format=torch.channels_last))
    return observer.ranges


def quantised(backbone: nn.Module, ranges: Mapping[str, tuple[float, float]]) -> fx.GraphModule:
    """`(N, 3, S, S)` float32 -> `(N, D)` float32. KeyError if a tensor of the network has no range."""
    folded = fold(backbone, low_precision=False)
    if folded is None:
        raise KeyError("a convolution")
    weights = {name: layer.weight.detach() for name, layer in folded.named_modules() if type(layer) is nn.Conv2d}
    return _Rewriter(fuse(folded), weights, ranges).rewritten()


def _is_convolution(network: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(module_of(network, node), FusedConvolution)


def _outputs_integers(network: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "placeholder" or isinstance(module_of(network, node), FusedConvolution | nn.MaxPool2d)


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else node.name


class _Observer(fx.Interpreter):
    """Runs the network and records the smallest and largest value of each convolution's inputs and outputs."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.network, self.ranges = network, Ranges()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if _is_convolution(self.network, n) or any(_is_convolution(self.network, user) for user in n.users):
            low, high = self.ranges.get(_name(n), (0.0, 0.0))  # zero must be exactly representable: padding is zeros
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
        self.register_buffer(
            "offset", torch.tensor(scale.zero + 0.5), persistent=False
        )  # + 0.5: the cast to uint8 truncates

    def forward(self, values: Tensor) -> Tensor:
        return torch.add(cast("Tensor", self.offset), values, alpha=self.inverse).clamp_(0, LEVELS).to(torch.uint8)


class _Dequantise(nn.Module):
    def __init__(self, scale: _Scale) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        return values.float().sub_(self.scale.zero).mul_(self.scale.scale)


class _MaxPool(nn.Module):
    """Max pooling of uint8, which torch's own does not support; padding with zeros is exact, as no value is below."""

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
    """oneDNN's convolution of integers, with the ReLU that follows it."""

    def __init__(self, fused: FusedConvolution, weight: Tensor, scales: tuple[_Scale, _Scale]) -> None:
        super().__init__()
        source, result = scales
        channels = (weight.abs().amax((1, 2, 3)) / 127).clamp_(min=_LEAST_SCALE)
        integers = (weight / channels[:, None, None, None]).round().clamp_(-127, 127).to(torch.int8)
        padding, stride, dilation, groups = fused.geometry
        self.geometry = (stride, padding, dilation, groups)
        packed = torch.ops.onednn.qconv_prepack(integers, channels, source.scale, source.zero, *self.geometry, None)
        zeros = torch.zeros(len(channels), dtype=torch.int64)
        self.layer = (source.scale, source.zero, packed, channels, zeros)
        bias = fused.bias if fused.bias is not None else torch.zeros(len(channels))
        self.bias = bias.detach().float()
        self.result = (result.scale, result.zero, torch.uint8)
        self.relu = "relu" if fused.relu else "none"

    def forward(self, values: Tensor) -> Tensor:
        run = torch.ops.onednn.qconv2d_pointwise
        return cast("Tensor", run(values, *self.layer, self.bias, *self.geometry, *self.result, self.relu, [], ""))


class _AddingConvolution(_Convolution):
    """The same plus another tensor, whose memory receives the sum; `keep` adds to a copy instead."""

    def __init__(
        self, fused: FusedConvolution, weight: Tensor, scales: tuple[_Scale, _Scale], added: _Scale, *, keep: bool
    ) -> None:
        super().__init__(fused, weight, scales)
        self.added, self.keep = (added.scale, added.zero), keep

    def forward(self, values: Tensor, added: Tensor) -> Tensor:  # type: ignore[override]  # one input more
        run = torch.ops.onednn.qconv2d_pointwise.binary
        added = added.clone() if self.keep else added
        sum_: tuple[Any, ...] = (*self.result, *self.added, "sum", 1.0, self.relu, [], "")
        return cast("Tensor", run(values, *self.layer, added, self.bias, *self.geometry, *sum_))


class _Rewriter:
    """One pass over a fused float32 graph; keeps track of the nodes that hold integers, and of their scales."""

    def __init__(
        self, network: fx.GraphModule, weights: Mapping[str, Tensor], ranges: Mapping[str, tuple[float, float]]
    ) -> None:
        self.network, self.weights, self.ranges = network, weights, ranges
        self.scales: dict[fx.Node, _Scale] = {}
        self.converted: dict[fx.Node, fx.Node] = {}  # a node -> its values as integers, or as floats

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
        result = _Scale(0.0 if layer.relu else low, high)
        scales = (self.scales[inputs[0]], result)
        weight = self.weights[str(node.target)]
        quantised: nn.Module
        if len(inputs) == 1:
            quantised = _Convolution(layer, weight, scales)
        else:
            keep = read_later or inputs[0] is inputs[1]
            quantised = _AddingConvolution(layer, weight, scales, self.scales[inputs[1]], keep=keep)
        self.network.set_submodule(str(node.target), quantised)
        node.args = tuple(inputs)
        self.scales[node] = result

    def _as_integers(self, node: fx.Node) -> fx.Node:
        if node in self.scales:
            return node
        if node not in self.converted:
            scale = _Scale(*self.ranges[_name(node)])
            self.converted[node] = self._insert(node, f"int8_{node.name}", _Quantise(scale))
            self.scales[self.converted[node]] = scale
        return self.converted[node]

    def _as_floats(self, node: fx.Node) -> fx.Node:
        if node not in self.scales:
            return node
        if node not in self.converted:
            self.converted[node] = self._insert(node, f"float_{node.name}", _Dequantise(self.scales[node]))
        return self.converted[node]

    def _insert(self, node: fx.Node, name: str, layer: nn.Module) -> fx.Node:
        self.network.add_submodule(name, layer)
        with self.network.graph.inserting_after(node):
            return self.network.graph.call_module(name, (node,))


def _simple(pool: nn.MaxPool2d) -> bool:
    return _pair(pool.dilation) == (1, 1) and not pool.ceil_mode and not pool.return_indices


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
