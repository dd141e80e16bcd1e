"""Writing an ONNX graph by calculating: arithmetic with a `Value` adds operators to its graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import helper, numpy_helper

_COMPARISONS = {"And", "Less", "GreaterOrEqual"}


@dataclass(frozen=True)
class Graph:
    """Operators and constants in the order in which they were written."""

    prefix: str  # of the names that it gives
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def input(self, name: str, dtype: DTypeLike) -> Value:
        return Value(name, np.dtype(dtype), self)

    def constant(self, values: ArrayLike, dtype: DTypeLike) -> Value:
        name = f"{self.prefix}.constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return Value(name, np.dtype(dtype), self)


@dataclass(frozen=True)
class Value:
    """An input, a constant or an operator's output."""

    name: str
    dtype: np.dtype[Any]
    graph: Graph

    def op(self, operator: str, *others: Value | ArrayLike, dtype: DTypeLike | None = None, **attributes: Any) -> Value:
        """The operator's output, of the type of this value unless another is named; this value is its first input.

        Inputs that are no values become constants of this value's type.
        """
        values = [each if isinstance(each, Value) else self.graph.constant(each, self.dtype) for each in others]
        output = f"{self.graph.prefix}.{len(self.graph.nodes)}"
        inputs = [self.name, *(each.name for each in values)]
        self.graph.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return Value(output, np.dtype(dtype or (bool if operator in _COMPARISONS else self.dtype)), self.graph)

    def to(self, dtype: DTypeLike) -> Value:
        return self.op("Cast", dtype=dtype, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def where(self, condition: Value, otherwise: Value | float) -> Value:
        """Where the condition holds this value, elsewhere the other."""
        other = otherwise if isinstance(otherwise, Value) else self.graph.constant(otherwise, self.dtype)
        return condition.op("Where", self, other, dtype=self.dtype)

    def axes(self, operator: str, *axes: int, **attributes: Any) -> Value:
        """An operator whose second input is a list of axes."""
        return self.op(operator, self.graph.constant(axes, np.int64), **attributes)

    def __add__(self, other: Value | ArrayLike) -> Value:
        return self.op("Add", other)

    def __sub__(self, other: Value | ArrayLike) -> Value:
        return self.op("Sub", other)

    def __mul__(self, other: Value | ArrayLike) -> Value:
        return self.op("Mul", other)

    def __truediv__(self, other: Value | ArrayLike) -> Value:
        """Of whole numbers rounded toward zero."""
        return self.op("Div", other)

    def __mod__(self, other: Value | ArrayLike) -> Value:
        return self.op("Mod", other)

    def __matmul__(self, other: Value) -> Value:
        return self.op("MatMul", other)

    def __lt__(self, other: Value | ArrayLike) -> Value:
        return self.op("Less", other)

    def __ge__(self, other: Value | ArrayLike) -> Value:
        return self.op("GreaterOrEqual", other)

    def __and__(self, other: Value) -> Value:
        return self.op("And", other)
