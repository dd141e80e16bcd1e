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

import numpy as np
import onnx
from handful.service.artifact.errors import UsageError
from handful.service.artifact.preprocessing import FAR_ENDS, Preprocessing
from handful.service.export.operators import Graph, Value
from handful.service.lean.onnx_file import IMAGES
from onnx import TensorProto, helper

FILTERS = ("bilinear", "bicubic")
_SHARPNESS = -0.5  # of Pillow's bicubic filter; others take -0.75
_BITS, _FINE_BITS = 22, 8  # of a weight, and of its fine part
Parts = list[Value]  # coarse in units of 2^(_FINE_BITS - _BITS), fine in units of 2^-_BITS


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


class _Resizing:
    def __init__(self, preprocessing: Preprocessing) -> None:
        self.side, self.short = preprocessing.side_pixels, preprocessing.short_side
        self.squash, self.cubic = preprocessing.crop_mode == "squash", preprocessing.interpolation == "bicubic"
        self.mean, self.std = (np.reshape(each, (3, 1, 1)) for each in (preprocessing.mean, preprocessing.std))

    def pixels(self, images: Value) -> Value:
        height, width = (_length(images, axis) for axis in (1, 2))
        shortest = width.op("Min", height)
        across, narrower = self._weights(width, shortest)
        down, lower = self._weights(height, shortest)
        # Pillow goes down first where that leaves less to compute. ONNX has `If`, but OpenVINO's gave wrong numbers
        # (2026.4): so both ways are computed, the other one for a single row or column.
        down_first = (lower - narrower.op("Max", 0) * 2).op("Max", 0).op("Min", 1)
        across_first = down_first.op("Neg") + 1
        rows, columns = _until((height - 1) * across_first + 1), _until((width - 1) * down_first + 1)
        channels = images.op("Transpose", perm=[0, 3, 1, 2])
        one, other = _first(channels, 2, rows).to(np.float32), _first(channels, 3, columns).to(np.float32)
        one = _rounded([one @ _transposed(part) for part in across])
        one = _rounded([_first(part, 1, rows) @ one for part in down])
        other = _rounded([part @ other for part in down])
        other = _rounded([other @ _transposed(_first(part, 1, columns)) for part in across])
        pixels = one * across_first.to(np.float32) + other * down_first.to(np.float32)
        return (pixels / 255 - self.mean) / self.std

    def _weights(self, length: Value, shortest: Value) -> tuple[Parts, Value]:
        """(S, length) each: of each pixel along one side, for each that the network sees; and by how much it shrinks.

        The latter counts the pixels that resizing takes away.
        """
        if self.squash:
            left, kept = length.graph.constant(0, np.int64), length
            resized = length.graph.constant(self.short, np.int64)
        else:  # the far ends of a long strip are not used
            left = (length - shortest * FAR_ENDS).op("Max", 0) / 2
            kept = length - left * 2
            resized = kept * self.short / shortest
        index = _half(resized - self.side) + np.arange(self.side)[:, None]
        place = _until(length) - left
        # the distance of their centres, in filter widths: whole numbers until the last step, so that it is exact
        distance = (resized * 2 * place - ((index * 2 + 1) * kept - resized)).op("Abs")
        weights = self._filter(distance.to(np.float64) / (kept.op("Max", resized) * 2).to(np.float64))
        weights = weights.where((place >= 0) & (place < kept), 0.0)
        return _parts(weights / weights.axes("ReduceSum", 1)), kept - resized

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


def _first(values: Value, axis: int, indices: Value) -> Value:
    return values.op("Gather", indices, axis=axis)


def _transposed(matrix: Value) -> Value:
    return matrix.op("Transpose", perm=[1, 0])


def _half(number: Value) -> Value:
    """Rounded to the even one, as Python's `round` does, which `Preprocessing` crops with."""
    half = number / 2
    return half + number % 2 * (half % 2)


def _parts(weights: Value) -> Parts:
    """Rounded as Pillow does: halves away from zero."""
    whole = (weights.op("Abs") * 2**_BITS + 0.5).op("Floor") * weights.op("Sign")
    coarse = (whole / 2**_FINE_BITS + 0.5).op("Floor")
    return [coarse.to(np.float32), (whole - coarse * 2**_FINE_BITS).to(np.float32)]


def _rounded(parts: Parts) -> Value:
    """Their sum as a pixel, halves upward."""
    coarse, fine = parts
    carried = ((fine + 2 ** (_BITS - 1)) / 2**_FINE_BITS).op("Floor")
    return ((coarse + carried) / 2 ** (_BITS - _FINE_BITS)).op("Floor").op("Clip", 0, 255)
