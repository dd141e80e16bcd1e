"""Augmentation: seeded, composable, for training alone, and never in the way of what the service sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from handful.service.artifact.errors import DataError
from handful.service.artifact.preprocessing import Preprocessing
from handful.training.finetune.augmentation import Augmentation, Flip, Pincushion, Rotate, Transform, Vignette
from handful.training.finetune.photos import PhotoLoader
from PIL import Image

INPUT = Preprocessing(side_pixels=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), interpolation="bilinear")
TRANSFORMS = Augmentation.of(INPUT).transforms


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> PhotoLoader:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        picture(50 + number, 70).save(path)
    return PhotoLoader(paths, INPUT)


def test_what_is_not_augmented_is_what_the_service_sees(photos: PhotoLoader) -> None:
    for number, path in enumerate(photos.paths):
        assert torch.equal(photos.plain(number), INPUT(INPUT.read(path)))


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(photos: PhotoLoader) -> None:
    first = photos.augmented(0, [1, 2])
    assert first.shape == (3, 32, 32)
    assert torch.equal(first, photos.augmented(0, [1, 2]))
    assert not torch.equal(first, photos.augmented(0, [1, 3]))


def test_photos_that_do_not_fit_in_memory_are_read_again_and_look_the_same(photos: PhotoLoader) -> None:
    frugal = PhotoLoader(photos.paths, INPUT, memory_gigabytes=0)
    for _ in range(2):
        assert torch.equal(frugal.augmented(1, [5]), photos.augmented(1, [5]))


def test_batches_come_in_order_and_may_be_empty(photos: PhotoLoader) -> None:
    batches = list(photos.batches([[0, 1], [], [2]], photos.plain))
    assert [len(batch) for batch in batches] == [2, 0, 1]
    assert torch.equal(batches[2][0], photos.plain(2))


def test_a_photo_that_has_gone_is_one_sentence(photos: PhotoLoader) -> None:
    photos.paths[0].unlink()
    with pytest.raises(DataError, match="cannot be read now"):
        photos.plain(0)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("size", [(40, 53), (1, 1), (3, 300)], ids=str)
def test_a_transform_takes_any_size_and_keeps_colour(transform: Transform, size: tuple[int, int]) -> None:
    for seed in range(8):
        changed = transform(picture(*size), np.random.default_rng(seed))
        assert changed.mode == "RGB"
        assert min(changed.size) >= 1


def test_flipping_twice_changes_nothing() -> None:
    random, image = np.random.default_rng(0), picture(5, 4)
    flip = Flip(chance=1)
    assert flip(flip(image, random), random).tobytes() == image.tobytes()


def test_a_turned_white_picture_has_no_dark_corner() -> None:
    white = Image.new("RGB", (61, 47), "white")
    for seed in range(20):
        turned = Rotate(degrees=30, chance=1)(white, np.random.default_rng(seed))
        assert np.asarray(turned).min() > 250


def test_a_lens_shows_nothing_from_outside_the_picture() -> None:
    white = Image.new("RGB", (48, 48), "white")
    for seed in range(20):
        assert np.asarray(Pincushion(most=0.3, chance=1)(white, np.random.default_rng(seed))).min() > 250


def test_a_vignette_darkens_corners_and_not_the_middle() -> None:
    seen = np.asarray(Vignette(chance=1)(Image.new("RGB", (33, 33), "white"), np.random.default_rng(0)))
    assert seen[16, 16].min() == 255
    assert seen[0, 0].max() < 250
