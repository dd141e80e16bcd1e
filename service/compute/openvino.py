"""The engine `openvino`: a convolutional network as a graph of OpenVINO's, built layer by layer from torch's trace.

OpenVINO's own conversion takes ten seconds of processor time (EfficientNet-Lite2), and would have to be done in the
background. Built directly, the graph takes a fraction of a second; kept.py keeps it for processes without torch.
OpenVINO folds BatchNorms and fuses activations itself. A layer that is not listed here raises NotImplementedError, and
the network then runs on the other engines.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from handful.service.compute.folding import FLOAT32_LAYERS, starts_in_float32, trace
from handful.service.compute.openvino_library import import_openvino
from handful.service.compute.openvino_models import OpenVinoModels
from handful.service.compute.timm_library import BatchNormAct2d, Conv2dSame
from torch import Tensor, fx, nn

Node = Any  # OpenVINO's, which leaves it untyped


class OpenVinoNetwork:
    """(N, 3, S, S) float32 -> (N, D) float32; safe to share between threads."""

    def __init__(self, backbone: nn.Module, side_pixels: int, *, low_precision: bool) -> None:
        """`NotImplementedError` where a layer has no counterpart here, ImportError without OpenVINO."""
        first = FLOAT32_LAYERS if low_precision and starts_in_float32(backbone) else ()
        models = _models(trace(backbone), backbone, side_pixels, first)
        precisions = ["f32"] * (len(models) - 1) + ["bf16" if low_precision else "f32"]
        self.models = OpenVinoModels([*zip(models, precisions, strict=True)])

    def __call__(self, batch: Tensor) -> Tensor:
        rows = batch.permute(0, 2, 3, 1).contiguous().numpy()  # no copy where the batch is channels-last
        return torch.from_numpy(self.models(rows))


def _models(graph: fx.Graph, backbone: nn.Module, side_pixels: int, first: tuple[str, ...]) -> list[Any]:
    """The network, or, where `first` names its first layers, a model of these and one of the rest."""
    ov = import_openvino()
    ops, cut = ov.opset13, _last_of(graph, first)
    image = ops.parameter([-1, side_pixels, side_pixels, 3], ov.Type.f32)
    models, values = list[Any](), dict[fx.Node, Node]()
    node: fx.Node
    for node in graph.nodes:
        arguments = fx.map_arg(node.args, values.__getitem__)
        if node.op == "placeholder":
            values[node] = ops.transpose(image, np.array([0, 3, 1, 2]))
        elif node.op == "output":
            return [*models, ov.Model([arguments[0]], [image], "backbone")]
        else:
            values[node] = _operation(ops, node, backbone)(*arguments, **node.kwargs)
        if node is cut:
            models.append(ov.Model([values[node]], [image], "first layers"))
            image = ops.parameter(values[node].get_output_partial_shape(0), ov.Type.f32)
            values = {node: image}
    raise NotImplementedError("a network without an output")


def _last_of(graph: fx.Graph, first: tuple[str, ...]) -> fx.Node | None:
    within = [node for node in graph.nodes if str(node.target) in first or str(node.target).startswith(_below(first))]
    return within[-1] if within else None


def _below(layers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{layer}." for layer in layers)


def _operation(ops: Any, node: fx.Node, backbone: nn.Module) -> Callable[..., Node]:
    """What computes the node, from OpenVINO's values of its arguments."""
    if node.op == "call_module":
        layer = backbone.get_submodule(cast("str", node.target))
        build = next((build for kinds, build in _LAYERS if type(layer) in kinds), None)
        if build is None:
            raise NotImplementedError(f"{type(layer).__name__} is not built for OpenVINO")
        return lambda value: build(ops, layer, value)
    if node.op == "call_function" and node.target in _FUNCTIONS:
        return cast("Callable[..., Node]", getattr(ops, _FUNCTIONS[node.target]))
    if node.op == "call_function" and node.target is torch.cat:
        return lambda parts, dim=0: ops.concat(list(parts), dim)
    if node.op == "call_method" and node.target == "mean":
        return lambda value, dim, keepdim=False: ops.reduce_mean(value, np.array(dim), keepdim)
    if node.op == "call_method" and node.target == "sigmoid":
        return lambda value: ops.sigmoid(value)
    raise NotImplementedError(f"{getattr(node.target, '__name__', node.target)} is not built for OpenVINO")


_FUNCTIONS: dict[Any, str] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    operator.mul: "multiply",
    operator.imul: "multiply",
    torch.mul: "multiply",
}


def _array(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().contiguous().numpy()


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _convolution(ops: Any, layer: nn.Conv2d, value: Node) -> Node:
    same = isinstance(layer, Conv2dSame)
    if layer.padding_mode != "zeros" or (isinstance(layer.padding, str) and not same):
        raise NotImplementedError(f"a convolution with {layer.padding_mode} and padding {layer.padding!r}")
    pads = [0, 0] if same else _pair(cast("tuple[int, ...]", layer.padding))
    geometry = (list(layer.stride), pads, pads, list(layer.dilation), "same_upper" if same else "explicit")
    weight = _array(layer.weight)
    if layer.groups == 1:
        output = ops.convolution(value, weight, *geometry)
    else:
        grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
        output = ops.group_convolution(value, grouped, *geometry)
    return output if layer.bias is None else ops.add(output, _array(layer.bias).reshape(1, -1, 1, 1))


def _batch_norm(ops: Any, layer: nn.BatchNorm2d, value: Node) -> Node:
    if layer.running_mean is None or layer.running_var is None:
        raise NotImplementedError("a BatchNorm without statistics")
    scale = torch.rsqrt(layer.running_var.double() + layer.eps)
    scale = scale * layer.weight.double() if layer.affine else scale
    shift = -layer.running_mean.double() * scale
    shift = shift + layer.bias.double() if layer.affine else shift
    scaled = ops.multiply(value, _array(scale).reshape(1, -1, 1, 1))
    output = ops.add(scaled, _array(shift).reshape(1, -1, 1, 1))
    for part in (getattr(layer, "drop", None), getattr(layer, "act", None)):  # those of timm's BatchNormAct2d
        if part is not None:
            build = next((build for kinds, build in _LAYERS if type(part) in kinds), None)
            if build is None:
                raise NotImplementedError(f"{type(part).__name__} is not built for OpenVINO")
            output = build(ops, part, output)
    return output


def _max_pool(ops: Any, layer: nn.MaxPool2d, value: Node) -> Node:
    size, stride, pads, dilation = (
        _pair(each) for each in (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    )
    rounding = "ceil_torch" if layer.ceil_mode else "floor"
    return ops.max_pool(value, stride, dilation, pads, pads, size, rounding).output(0)


def _average_pool(ops: Any, layer: nn.AvgPool2d, value: Node) -> Node:
    if layer.divisor_override or (layer.ceil_mode and layer.count_include_pad):
        raise NotImplementedError("an average whose divisor differs at the border")
    size, stride, pads = (_pair(each) for each in (layer.kernel_size, layer.stride, layer.padding))
    rounding = "ceil" if layer.ceil_mode else "floor"
    return ops.avg_pool(value, stride, pads, pads, size, not layer.count_include_pad, rounding)


def _global_pool(ops: Any, layer: nn.AdaptiveAvgPool2d, value: Node) -> Node:
    if layer.output_size not in (1, (1, 1)):
        raise NotImplementedError(f"an average pool of the size {layer.output_size}")
    return ops.reduce_mean(value, np.array([2, 3]), True)  # noqa: FBT003 - OpenVINO's keep_dims


def _flatten(ops: Any, layer: nn.Flatten, value: Node) -> Node:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise NotImplementedError("a flattening of some dimensions")
    return ops.reshape(value, np.array([0, -1]), True)  # noqa: FBT003 - a zero keeps the batch's size


def _linear(ops: Any, layer: nn.Linear, value: Node) -> Node:
    output = ops.matmul(value, _array(layer.weight), False, True)  # noqa: FBT003 - the weight is transposed
    return output if layer.bias is None else ops.add(output, _array(layer.bias))


Build = Callable[[Any, Any, Node], Node]
_LAYERS: list[tuple[set[type[nn.Module]], Build]] = [
    ({nn.Identity, nn.Dropout}, lambda _, __, value: value),
    ({nn.Conv2d, Conv2dSame}, _convolution),
    ({nn.BatchNorm2d, BatchNormAct2d}, _batch_norm),
    ({nn.MaxPool2d}, _max_pool),
    ({nn.AvgPool2d}, _average_pool),
    ({nn.AdaptiveAvgPool2d}, _global_pool),
    ({nn.Flatten}, _flatten),
    ({nn.Linear}, _linear),
    ({nn.ReLU}, lambda ops, _, value: ops.relu(value)),
    ({nn.ReLU6}, lambda ops, _, value: ops.clamp(value, 0.0, 6.0)),
    ({nn.SiLU}, lambda ops, _, value: ops.swish(value)),
    ({nn.Sigmoid}, lambda ops, _, value: ops.sigmoid(value)),
    ({nn.Hardswish}, lambda ops, _, value: ops.hswish(value)),
    ({nn.Hardsigmoid}, lambda ops, _, value: ops.hsigmoid(value)),
]
