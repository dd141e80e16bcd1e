"""Receptive fields: the part of the input that one point of a feature map depends on.

They are computed from the operations of a forward pass. Convolutions, pooling and padding change the window by their
kernel, stride and padding (Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks");
pointwise operations keep it; where paths join, it is the smallest window that covers those of all paths. After any
other operation (attention, a gate over the whole map) no bound is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

# Names of aten operations, without their overload and the underscore of in-place variants.
POINTWISE = {
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_batch_norm_no_update",
    "cudnn_batch_norm", "miopen_batch_norm", "cat", "clone", "_to_copy", "detach", "alias", "native_dropout",
    "hardswish", "hardtanh", "silu", "mish", "relu6",
}  # fmt: skip
PADDING = {"constant_pad_nd", "reflection_pad2d", "replication_pad2d"}
POOLING = {"max_pool2d_with_indices", "max_pool2d", "avg_pool2d"}


@dataclass(frozen=True)
class Extent:
    """Along one axis, point i of a map depends on input pixels from `jump * i + first` to `jump * i + last`."""

    jump: int = 1
    first: int = 0
    last: int = 0

    @property
    def pixels(self) -> int:
        return self.last - self.first + 1

    def after_layer(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> Extent:
        """After a layer whose point i reads `kernel` points of this map, the first at `stride * i - padding`."""
        first = self.first - self.jump * padding
        return Extent(self.jump * stride, first, first + self.pixels - 1 + self.jump * dilation * (kernel - 1))

    def union(self, other: Extent) -> Extent:
        return Extent(self.jump, min(self.first, other.first), max(self.last, other.last))


@dataclass(frozen=True)
class Window:
    """The receptive field of a map's points, along both axes."""

    down: Extent = Extent()
    across: Extent = Extent()

    @property
    def pixels(self) -> int:
        """The longer side."""
        return max(self.down.pixels, self.across.pixels)

    @property
    def stride_pixels(self) -> int:
        return self.across.jump


class ReceptiveFields(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """While active, tracks the `Window` of every tensor computed from `source`."""

    def __init__(self, source: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self._windows = WeakTensorKeyDictionary()  # tensor -> Window; None: no bound is known
        self._windows[source] = Window()

    def of(self, tensor: Tensor) -> Window | None:
        """The tensor's window; None if no bound is known."""
        window: Window | None = self._windows.get(tensor)  # type: ignore[no-untyped-call]  # the same
        return window

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled while it is active: to forbid it would import the compiler (3 s, 180 MB)."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = [self._windows[tensor] for tensor in _tensors(args) if tensor in self._windows]
        result = func(*args, **(kwargs or {}))
        if known:
            window = None if None in known else _after(func, args, known)
            for tensor in _tensors([result]):
                self._windows[tensor] = window
        return result


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _after(func: Any, args: Sequence[Any], windows: Sequence[Window]) -> Window | None:
    name = func.overloadpacket.__name__
    if name == "convolution":
        return _convolved(windows[0], args)
    if name in POOLING:
        return _pooled(windows[0], args, dilates=name.startswith("max"))
    if name in PADDING:
        return _padded(windows[0], args[1])
    if torch.Tag.pointwise in func.tags or name.rstrip("_") in POINTWISE:
        return _union(windows)
    return None


def _convolved(window: Window, args: Sequence[Any]) -> Window | None:
    _, weight, _, stride, padding, dilation, transposed, *_ = args
    if transposed or weight.dim() != 4:
        return None
    return _both(window, weight.shape[2:], stride, padding, dilation)


def _pooled(window: Window, args: Sequence[Any], *, dilates: bool) -> Window:
    """The arguments are (input, kernel, stride = kernel, padding = 0, dilation = 1), the last only for max pooling."""
    kernel, stride, padding, dilation = (*args[1:], *((), 0, 1)[len(args) - 2 :])[:4]
    return _both(window, kernel, stride or kernel, padding, dilation if dilates else 1)


def _padded(window: Window, padding: Sequence[int]) -> Window:
    """`padding` is (left, right, top, bottom) or shorter; the map begins so many points earlier."""
    left, _, top, _ = (*padding, 0, 0, 0, 0)[:4]
    return Window(window.down.after_layer(1, 1, top), window.across.after_layer(1, 1, left))


def _both(window: Window, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Window:
    down, across = zip(*(_pair(value) for value in (kernel, stride, padding, dilation)), strict=True)
    return Window(window.down.after_layer(*down), window.across.after_layer(*across))


def _pair(value: Any) -> tuple[int, int]:
    """A layer's argument for both axes: one number, a list of one, or a list of two."""
    values = [int(v) for v in value] if isinstance(value, (list, tuple, torch.Size)) else [int(value)]
    return values[0], values[-1]


def _union(windows: Sequence[Window]) -> Window | None:
    """The smallest window that covers all; None for different strides, as the points then do not coincide."""
    window = windows[0]
    for other in windows[1:]:
        if (window.down.jump, window.across.jump) != (other.down.jump, other.across.jump):
            return None
        window = Window(window.down.union(other.down), window.across.union(other.across))
    return window
