"""The weights of an ONNX file in fewer bits; what is computed with them stays float32."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
_LEAST_WEIGHTS = 1024  # smaller tensors stay as they are: a head, a BatchNorm
_FULL_SHARE = 0.1  # of all weights, those of the smallest tensors: not in fp16, but in fp32
_LEVELS = 127


def reduce_weights(model: onnx.ModelProto, precision: Precision) -> None:
    """Changes the model. In int8 each output channel has a scale of its own, and zero is exact.

    In fp16 up to a tenth of the weights stay in fp32, those of the smallest tensors: they are mostly the first layers',
    whose errors all others pass on. Probabilities then differ by a third to two thirds of what they did
    (training/LOG.md).
    """
    if precision == "fp32":
        return
    graph, users = model.graph, {name: node for node in model.graph.node for name in node.input}
    reduced = _reduced(list(graph.initializer), _FULL_SHARE if precision == "fp16" else 0.0)
    kept, added = list[TensorProto](), list[onnx.NodeProto]()
    for tensor in graph.initializer:
        if tensor.name not in reduced:
            kept.append(tensor)
            continue
        values, stored = numpy_helper.to_array(tensor), f"{tensor.name}.{precision}"
        if precision == "fp16":
            limit = np.finfo(np.float16).max
            kept.append(numpy_helper.from_array(values.clip(-limit, limit).astype(np.float16), stored))
            added.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
        else:
            axis = _output_axis(users.get(tensor.name), values.ndim)
            integers, scale = _integers(values, axis)
            kept += [numpy_helper.from_array(integers, stored), numpy_helper.from_array(scale, f"{stored}.scale")]
            added.append(helper.make_node("DequantizeLinear", [stored, f"{stored}.scale"], [tensor.name], axis=axis))
    nodes = [*added, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _reduced(tensors: list[TensorProto], full_share: float) -> set[str]:
    """The names of those that get fewer bits."""
    weights = [each for each in tensors if each.data_type == TensorProto.FLOAT and len(each.dims) >= 2]
    sizes = {each.name: int(np.prod(each.dims)) for each in weights if np.prod(each.dims) >= _LEAST_WEIGHTS}
    names = sorted(sizes, key=lambda name: sizes[name])
    up_to = np.cumsum([sizes[name] for name in names])
    return {name for name, count in zip(names, up_to, strict=True) if count > full_share * up_to[-1]}


def _output_axis(user: onnx.NodeProto | None, dimensions: int) -> int:
    """Of a convolution's weight and of a transposed matrix the first, of a matrix the last."""
    transposed = user is not None and any(each.name == "transB" and each.i for each in user.attribute)
    return 0 if transposed or (user is not None and user.op_type == "Conv") else dimensions - 1


def _integers(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    others = tuple(each for each in range(values.ndim) if each != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.maximum(largest / _LEVELS, np.finfo(np.float32).tiny).astype(np.float32)
    return np.round(values / scale).clip(-_LEVELS, _LEVELS).astype(np.int8), scale.reshape(-1)
