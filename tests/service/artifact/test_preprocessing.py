"""The one transform: timm's arithmetic, the same tensor for every road an image takes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from handful.service.artifact.preprocessing import Preprocessing
from PIL import Image
from pydantic import ValidationError
from timm.data.transforms_factory import create_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(300, 200), (200, 301), (64, 64), (28, 28), (37, 123)])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0])
@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_tensor_is_that_of_timms_own_evaluation_transform(
    size: tuple[int, int],
    crop_pct: float,
    mode: Literal["center", "squash"],
    interpolation: Literal["bilinear", "bicubic"],
) -> None:
    ours = Preprocessing(
        side_pixels=64, mean=MEAN, std=STD, interpolation=interpolation, crop_pct=crop_pct, crop_mode=mode
    )
    theirs = create_transform(
        input_size=(3, 64, 64), mean=MEAN, std=STD, interpolation=interpolation, crop_pct=crop_pct, crop_mode=mode
    )
    torch.testing.assert_close(ours(noise(*size)), theirs(noise(*size)), rtol=0, atol=1e-5)


def test_a_strip_of_pixels_is_read_without_filling_the_memory() -> None:
    tensor = Preprocessing(side_pixels=32, mean=MEAN, std=STD)(noise(60000, 3))
    assert tensor.shape == (3, 32, 32)
    assert tensor.dtype == torch.float32


def test_an_unknown_key_or_another_channel_count_is_refused() -> None:
    with pytest.raises(ValidationError):
        Preprocessing.model_validate({"side_pixels": 32, "mean": MEAN, "std": STD, "flip": True})
    with pytest.raises(ValueError, match=r"\(3, S, S\) is allowed"):
        Preprocessing.from_pretrained_cfg({"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.5,)})


def test_the_hash_changes_with_every_field() -> None:
    base = Preprocessing(side_pixels=32, mean=MEAN, std=STD)
    others = [base.model_copy(update=change) for change in ({"side_pixels": 33}, {"crop_pct": 0.9}, {"std": MEAN})]
    assert len({p.sha256 for p in (base, *others)}) == 4


@pytest.mark.parametrize("size", [(48, 48), (60, 90), (200, 51), (40, 1000), (28, 28)])
@pytest.mark.parametrize("crop", [(1.0, "center"), (0.875, "center"), (1.0, "squash"), (0.8, "squash")])
def test_what_is_seen_is_where_the_pixels_come_from(size: tuple[int, int], crop: tuple[float, str]) -> None:
    """The picture's colours are its coordinates, so that the input tells which part of it was shown."""
    width, height = size
    across, down = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    image = Image.fromarray((255 * np.stack([across, down, down], axis=-1)).astype(np.uint8))
    cfg = {"input_size": (3, 32, 32), "mean": MEAN, "std": STD, "crop_pct": crop[0], "crop_mode": crop[1]}
    preprocessing = Preprocessing.from_pretrained_cfg(cfg)
    shown = np.asarray(preprocessing.pixels(image)).astype(float) / 255
    left, top, right, bottom = preprocessing.seen(size)
    for channel, axis, low, high, length in ((0, 1, left, right, width), (1, 0, top, bottom, height)):
        middle = shown[..., channel].mean()
        step = (high - low) / 32
        assert middle * length == pytest.approx((low + high) / 2, abs=step / 2 + length / 128)
        profile = shown[..., channel].mean(axis=1 - axis) * length
        assert profile[24] - profile[8] == pytest.approx(16 * step, abs=step / 2 + length / 128)


@pytest.mark.parametrize("crop", [(1.0, "center"), (0.5, "center"), (1.0, "squash")])
def test_the_ten_views_are_corners_middle_and_mirrors_of_one_square(crop: tuple[float, str]) -> None:
    cfg = {"input_size": (3, 28, 28), "mean": MEAN, "std": STD, "crop_pct": crop[0], "crop_mode": crop[1]}
    preprocessing = Preprocessing.from_pretrained_cfg(cfg)
    image = noise(90, 70)
    views = preprocessing.ten_views(image)
    assert views.shape == (10, 3, 28, 28)
    assert torch.equal(views[5:], views[:5].flip(3))
    far = (56 if crop[0] == 0.5 else 32) - 28
    top_left, top_right, bottom_left = views[:3]
    assert torch.equal(top_left[:, :, far:], top_right[:, :, : 28 - far])
    assert torch.equal(top_left[:, far:], bottom_left[:, : 28 - far])
    if crop[0] == 0.5:  # the card's own crop shows less than 224 of 256: the middle is what it always sees
        assert torch.equal(views[4], preprocessing(image))
