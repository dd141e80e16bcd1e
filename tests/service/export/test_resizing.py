"""A file resizes as `Preprocessing` does with Pillow: whatever the size of a photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from handful.service.artifact.errors import UsageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.export.graph import OPSET
from handful.service.export.resizing import check_filter, resize_first
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper
from PIL import Image

SIZES = ((28, 28), (48, 300), (133, 134), (301, 97), (1, 9), (900, 57), (40, 1000), (64, 64))


def preprocessing(**changes: Any) -> Preprocessing:
    return Preprocessing(side_pixels=48, mean=(0.4, 0.5, 0.3), std=(0.2, 0.25, 0.3), **changes)


class Resizing:
    """A file whose network is nothing: `(N, H, W, 3)` uint8 -> `(N, 3, S, S)` float32."""

    def __init__(self, described: Preprocessing) -> None:
        shape: list[str | int | None] = ["N", 3, described.side_pixels, described.side_pixels]
        inner, outer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("pixels", "out"))
        graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["out"])], "nothing", [inner], [outer])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        resize_first(model, described)
        checker.check_model(model, full_check=True)
        self._session = onnxruntime.InferenceSession(model.SerializeToString())

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        (pixels,) = self._session.run(None, {"images": images})
        return np.asarray(pixels, np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {"crop_pct": 0.89},
        {"crop_pct": 1.0},
        {"side_pixels": 47, "crop_pct": 0.875},
        {"interpolation": "bilinear", "crop_pct": 0.9},
        {"crop_mode": "squash", "crop_pct": 0.9},
    ],
    ids=str,
)
def test_it_resizes_as_pillow_does(changes: dict[str, Any]) -> None:
    """To the last bit: between black and white, too, where a filter overshoots."""
    described = preprocessing().model_copy(update=changes)
    resizing = Resizing(described)
    for height, width in SIZES:
        random = np.random.default_rng(height)
        noise, corners = (random.integers(0, most, (height, width, 3), dtype=np.uint8) for most in (256, 2))
        for pixels in (noise, corners * np.uint8(255)):
            expected = described(Image.fromarray(pixels)).numpy()
            assert np.array_equal(resizing(pixels[None])[0], expected), (height, width)


def test_a_batch_is_answered_one_by_one() -> None:
    resizing = Resizing(preprocessing())
    pixels = np.random.default_rng(0).integers(0, 256, (3, 70, 90, 3), dtype=np.uint8)
    assert np.array_equal(resizing(pixels), np.concatenate([resizing(each[None]) for each in pixels]))


def test_another_filter_is_refused_with_its_name() -> None:
    with pytest.raises(UsageError, match="filter 'box'; only networks with bilinear or bicubic"):
        check_filter(preprocessing(interpolation="box"))
