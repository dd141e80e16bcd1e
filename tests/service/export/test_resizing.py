"""A network resizes as `Preprocessing` does with Pillow: whatever the size of a photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from handful.service.artifact.errors import UsageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.export.resizing import Resizing
from PIL import Image

SIZES = ((28, 28), (48, 300), (133, 134), (301, 97), (1, 9), (900, 57), (40, 1000), (64, 64))


def preprocessing(**changes: Any) -> Preprocessing:
    return Preprocessing(side_pixels=48, mean=(0.4, 0.5, 0.3), std=(0.2, 0.25, 0.3), **changes)


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
    """Where the exact value lies between two whole numbers, one of a thousand may be the other."""
    described = preprocessing().model_copy(update=changes)
    resizing = Resizing(described)
    levels = torch.tensor(described.std).view(3, 1, 1) * 255
    for height, width in SIZES:
        pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = described(Image.fromarray(pixels))
        difference = ((resizing(torch.from_numpy(pixels)[None])[0] - expected) * levels).abs()
        assert float(difference.max()) < 1.01, (height, width)
        share = 0.04 if described.interpolation == "bilinear" else 0.001  # halves are common between equal weights
        assert float((difference > 0.01).float().mean()) <= share, (height, width)


def test_a_batch_is_answered_one_by_one() -> None:
    resizing = Resizing(preprocessing())
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 70, 90, 3), dtype=np.uint8))
    assert torch.allclose(resizing(pixels), torch.cat([resizing(each[None]) for each in pixels]), atol=1e-5)


def test_another_filter_is_refused_with_its_name() -> None:
    with pytest.raises(UsageError, match="filter 'box'; only networks with bilinear or bicubic"):
        Resizing(preprocessing(interpolation="box"))
