"""Whether something other than the objects tells the labels apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from handful.training.embeddings import Embedded
from handful.training.photos.cue_numbers import COLUMNS, Numbers, cue_numbers
from handful.training.photos.cues import cue_results, cue_sentence
from handful.training.photos.inspection import Inspected
from PIL import Image, ImageFilter


def noise(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def measured(image: Image.Image, file_bytes: int = 1000) -> dict[str, Numbers]:
    numbers = cue_numbers(image, file_bytes)
    return {cue: numbers[columns] for cue, columns in COLUMNS.items()}


def test_each_cue_measures_what_its_name_says() -> None:
    plain = measured(noise(1))
    darker = measured(noise(1).point(lambda value: value // 2))
    blurred = measured(noise(1).filter(ImageFilter.GaussianBlur(3)))
    assert darker["brightness"] < plain["brightness"]
    assert blurred["sharpness"] < plain["sharpness"] - 1
    assert measured(noise(1, (90, 120)))["shape"] == pytest.approx(-plain["shape"])
    assert measured(noise(1), 9000)["file size"] > plain["file size"]
    framed = Image.new("RGB", (120, 90), (200, 0, 0))
    framed.paste(noise(1, (80, 60)), (20, 15))
    assert measured(framed)["background"] == pytest.approx([200 / 255, 0, 0], abs=0.01)


@pytest.mark.parametrize("size", [(1, 1), (2, 700), (3, 3)])
def test_a_tiny_picture_has_numbers_too(size: tuple[int, int]) -> None:
    assert np.isfinite(cue_numbers(noise(0, size), 0)).all()


def inspected_with(numbers: np.ndarray, labels: np.ndarray) -> Inspected:
    images = tuple(
        Embedded(Path(str(row)), "0", "0", np.zeros(2, np.float32), cues=cues) for row, cues in enumerate(numbers)
    )
    names = tuple(f"label {number}" for number in range(labels.max() + 1))
    return Inspected(names, images, labels, np.arange(len(labels)), (), len(labels))


def random_numbers(count: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, 7)).astype(np.float32)


def test_a_cue_that_tells_the_labels_apart_is_named_and_no_other() -> None:
    labels = np.repeat([0, 1], 40)
    numbers = random_numbers(80)
    assert cue_sentence(cue_results(inspected_with(numbers, labels), 0)) is None
    numbers[:, 0] += 5 * labels
    results = cue_results(inspected_with(numbers, labels), 0)
    assert [each.cue for each in results if each.matters] == ["brightness"]
    assert "by the brightness (" in str(cue_sentence(results))


def test_a_cue_is_judged_against_the_commonest_label() -> None:
    """With nine photos of ten under one label, 90 % is what guessing gets."""
    labels = np.repeat([0, 1], [90, 10])
    results = cue_results(inspected_with(random_numbers(100), labels), 0)
    assert {each.commonest for each in results} == {0.9}
    assert not any(each.matters for each in results)


def test_nothing_is_said_of_one_label_of_few_photos_or_of_photos_without_numbers() -> None:
    assert cue_results(inspected_with(random_numbers(20), np.zeros(20, np.int64)), 0) == ()
    assert cue_results(inspected_with(random_numbers(10), np.repeat([0, 1], 5)), 0) == ()
    known = inspected_with(random_numbers(40), np.repeat([0, 1], 20))
    older = replace(known, images=(replace(known.images[0], cues=None), *known.images[1:]))
    assert cue_results(older, 0) == ()
