"""Resizing, cropping and normalising in front of a network: what `Preprocessing` does with Pillow, from whole images.

A filter is two products of matrices, across and then down, whose weights follow from the image's size. ONNX has an
operator for it, `Resize`, but OpenVINO reads it without its `antialias`, and ONNX Runtime took five times as long on a
photo of 12 megapixels. Pillow rounds weights to multiples of 2^-22, and pixels to whole numbers after each of the two
products. So does this: each weight is the sum of a coarse and a fine part, and each part's product a sum of whole
numbers below 2^24, which float32 adds without an error, in whatever order.

It is written in ONNX itself: traced by torch, the arithmetic of an image's height and width took four fifths of an
export.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from handful.service.artifact.errors import UsageError
from handful.service.artifact.preprocessing import FAR_ENDS, Preprocessing
from handful.service.export.operators import Graph, Value
from handful.service.lean.onnx_file import IMAGES
from onnx import TensorProto, helper

FILTERS = ("bilinear", "bicubic")
_SHARPNESS = -0.5  # of Pillow's bicubic filter; others take -0.75
_WHOLE, _COARSE = 2**22, 2**14  # weights are multiples of 1 / _WHOLE, their coarse parts of 1 / _COARSE


def check_filter(preprocessing: Preprocessing) -> None:
    """`UsageError` for a filter that is not in `FILTERS`."""
    if preprocessing.interpolation not in FILTERS:
        raise UsageError(
            f"The network's photos are resized with the filter {preprocessing.interpolation!r}; only networks with"
            f" {' or '.join(FILTERS)} can be exported."
        )


def resize_first(model: onnx.ModelProto, preprocessing: Preprocessing) -> None:
    """Changes a model of `(N, 3, S, S)` float32, as `Preprocessing.__call__` gives it, into one of whole images.

    Its input becomes `IMAGES`, `(N, H, W, 3)` uint8, upright RGB. `UsageError` as `check_filter`.
    """
    check_filter(preprocessing)
    written, (pixels,) = Graph("resizing"), model.graph.input
    resized = _Resizing(preprocessing).pixels(written.input(IMAGES, np.uint8))
    written.nodes[-1].output[0] = pixels.name
    assert resized.dtype == np.float32  # noqa: S101 - as the network's input
    network = list(model.graph.node)
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend([*written.nodes, *network])
    model.graph.initializer.extend(written.constants)
    model.graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", 3]))


@dataclass(frozen=True)
class _Weights:
    """Along one axis, of each source pixel in each one seen: (S, count) float32, in units of `1 / _COARSE`."""

    first: Value  # of the pixels that are used
    count: Value  # of them
    coarse: Value
    fine: Value  # what is left: multiples of 2^-8
    fine_count: Value  # how many columns of `fine` are used: one where nothing is resized
    taken: Value  # how many pixels resizing takes away


class _Resizing:
    def __init__(self, preprocessing: Preprocessing) -> None:
        self.side, self.short = preprocessing.side_pixels, preprocessing.short_side
        self.squash, self.cubic = preprocessing.crop_mode == "squash", preprocessing.interpolation == "bicubic"
        self.mean, self.std = (np.reshape(each, (3, 1, 1)) for each in (preprocessing.mean, preprocessing.std))

    def pixels(self, images: Value) -> Value:
        height, width = (_length(images, axis) for axis in (1, 2))
        shortest = width.op("Min", height)
        across, down = self._weights(width, shortest), self._weights(height, shortest)
        # Pillow goes down first where that leaves less to compute. ONNX has `If`, but OpenVINO's gave wrong numbers
        # (2026.4): so both ways are computed, the other one for a single row or column.
        down_first = (down.taken - across.taken.op("Max", 0) * 2).op("Max", 0).op("Min", 1)
        across_first = down_first.op("Neg") + 1
        rows, columns = (down.count - 1) * across_first + 1, (across.count - 1) * down_first + 1
        channels = images.op("Transpose", perm=[0, 3, 1, 2])
        one = _used(channels, down, rows, across, across.count)
        other = _used(channels, down, down.count, across, columns)
        one = _down(_across(one, across, across.count), down, rows)
        other = _across(_down(other, down, down.count), across, columns)
        pixels = one * across_first.to(np.float32) + other * down_first.to(np.float32)
        return (pixels / 255 - self.mean) / self.std

    def _weights(self, length: Value, shortest: Value) -> _Weights:
        if self.squash:
            left, kept = length.graph.constant(0, np.int64), length
            resized = length.graph.constant(self.short, np.int64)
        else:  # the far ends of a long strip are not used
            left = (length - shortest * FAR_ENDS).op("Max", 0) / 2
            kept = length - left * 2
            resized = kept * self.short / shortest
        larger = kept.op("Max", resized)
        index = _half(resized - self.side)
        # distances are whole numbers until they are divided, so that they are exact: a pixel is 2 * resized wide
        first = ((index * 2 + 1) * kept - resized - larger * 4).op("Max", 0) / (resized * 2)
        end = ((index * 2 + (2 * self.side - 1)) * kept - resized + larger * 4) / (resized * 2) + 1
        count = end.op("Min", kept) - first
        centre = (index * 2 + (2 * np.arange(self.side)[:, None] + 1)) * kept - resized
        distance = ((_until(count) + first) * (resized * 2) - centre).op("Abs")
        weights = self._filter(distance.to(np.float64) / (larger * 2).to(np.float64))
        coarse, fine = _parts(weights / weights.axes("ReduceSum", 1))
        changed = (kept - resized).op("Abs").op("Min", 1)
        return _Weights(left + first, count, coarse, fine, (count - 1) * changed + 1, kept - resized)

    def _filter(self, x: Value) -> Value:
        if not self.cubic:
            return (x.op("Neg") + 1).op("Max", 0)
        near = (x * (_SHARPNESS + 2) - (_SHARPNESS + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * _SHARPNESS
        return near.where(x < 1, far.where(x < 2, 0.0))


def _length(images: Value, axis: int) -> Value:
    return images.op("Shape", start=axis, end=axis + 1, dtype=np.int64).axes("Squeeze", 0)


def _until(count: Value) -> Value:
    zero, one = (count.graph.constant(each, np.int64) for each in (0, 1))
    return zero.op("Range", count, one)


def _half(number: Value) -> Value:
    """Rounded to the even one, as Python's `round` does, which `Preprocessing` crops with."""
    half = number / 2
    return half + number % 2 * (half % 2)


def _parts(weights: Value) -> tuple[Value, Value]:
    """Coarse and fine, rounded as Pillow does: halves away from zero."""
    rounded = (weights.op("Abs") * _WHOLE + 0.5).op("Floor") * weights.op("Sign") * (_COARSE / _WHOLE)
    coarse = (rounded + 0.5).op("Floor")
    return coarse.to(np.float32), (rounded - coarse).to(np.float32)


def _used(channels: Value, down: _Weights, rows: Value, across: _Weights, columns: Value) -> Value:
    """(N, 3, rows, columns) uint8: so many of the rows and columns that are used.

    Made float just before each product: OpenVINO in bfloat16 then leaves weights and first product in float32.
    """
    return _cut(_cut(channels, 2, rows, down.first), 3, columns, across.first)


def _cut(values: Value, axis: int, count: Value, first: Value | None = None) -> Value:
    start = first or count.graph.constant(0, np.int64)
    bounds = (each.axes("Unsqueeze", 0) for each in (start, start + count))
    return values.op("Slice", *bounds, values.graph.constant([axis], np.int64))


def _across(pixels: Value, weights: _Weights, count: Value) -> Value:
    """(N, 3, rows, count) -> (N, 3, rows, S)."""
    few = weights.fine_count.op("Min", count)
    coarse, fine = _cut(weights.coarse, 1, count), _cut(weights.fine, 1, few)
    return _rounded(
        pixels.to(np.float32) @ coarse.op("Transpose", perm=[1, 0]),
        _cut(pixels, 3, few).to(np.float32) @ fine.op("Transpose", perm=[1, 0]),
    )


def _down(pixels: Value, weights: _Weights, count: Value) -> Value:
    """(N, 3, count, columns) -> (N, 3, S, columns)."""
    few = weights.fine_count.op("Min", count)
    coarse, fine = _cut(weights.coarse, 1, count), _cut(weights.fine, 1, few)
    return _rounded(coarse @ pixels.to(np.float32), fine @ _cut(pixels, 2, few).to(np.float32))


def _rounded(coarse: Value, fine: Value) -> Value:
    """Their sum as a pixel, halves upward."""
    carried = (fine + _COARSE / 2).op("Floor")
    return ((coarse + carried) / _COARSE).op("Floor").op("Clip", 0, 255)
