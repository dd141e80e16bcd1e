"""What is found wrong with a folder, file by file, and what is left to learn from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, write_photo
from handful.service.artifact.errors import DataError
from handful.training.photos.inspection import Inspected, require_labels
from handful.training.train import inspect_folder
from PIL import Image

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    return Path(shutil.copytree(photos, tmp_path / "photos"))


def named(inspected: Inspected) -> dict[str, str]:
    """Path to kind, near-duplicates left out: to a random network some noise is more alike than other noise."""
    return {p.path: p.kind for p in inspected.problems if not p.kind.startswith("near_duplicate")}


def kinds(folder: Path, backbone: Path) -> dict[str, str]:
    return named(inspect_folder(folder, str(backbone)))


def test_a_clean_folder_has_no_problems(folder: Path, backbone: Path) -> None:
    inspected = inspect_folder(folder, str(backbone))
    assert not named(inspected)
    assert inspected.per_label == {"blue": 12, "red": 12}
    assert inspected.embeddings.shape[0] == 24


def test_each_bad_file_is_named_with_its_kind(folder: Path, backbone: Path) -> None:
    whole = (folder / "blue/00.jpg").read_bytes()
    (folder / "blue/cut.jpg").write_bytes(whole[:-300])
    (folder / "blue/empty.jpg").touch()
    (folder / "blue/notes.txt").write_text("words")
    (folder / "red/phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    (folder / "blue/.hidden.jpg").write_bytes(b"silently left out")
    assert kinds(folder, backbone) == {
        "blue/cut.jpg": "image_truncated",
        "blue/empty.jpg": "image_unreadable",
        "blue/notes.txt": "not_an_image",
        "red/phone.heic": "image_unreadable",
    }


def test_used_and_left_out_add_up_to_what_was_found(folder: Path, backbone: Path) -> None:
    (folder / "blue/notes.txt").write_text("words")
    shutil.copy(folder / "blue/01.png", folder / "blue/again.png")
    shutil.copy(folder / "blue/04.png", folder / "red/other.png")
    for number in range(3):
        write_photo(folder / f"green/{number}.png", (0, 200, 0), number)
    inspected = inspect_folder(folder, str(backbone))
    assert inspected.left_out == {"unreadable": 1, "duplicate": 1, "two_labels": 2, "too_few_images": 3}
    assert (inspected.found, len(inspected.images)) == (30, 23)
    assert all(p.leaves_out for p in inspected.problems if not p.kind.startswith("near_duplicate"))


def test_the_same_picture_in_another_file_is_a_duplicate(folder: Path, backbone: Path) -> None:
    Image.open(folder / "blue/01.png").save(folder / "blue/99.bmp")
    assert kinds(folder, backbone) == {"blue/99.bmp": "duplicate"}


def test_the_same_picture_under_two_labels_is_left_out_of_both(folder: Path, backbone: Path) -> None:
    shutil.copy(folder / "blue/01.png", folder / "red/copy.png")
    inspected = inspect_folder(folder, str(backbone))
    assert named(inspected) == {"blue/01.png": "two_labels", "red/copy.png": "two_labels"}
    assert inspected.per_label == {"blue": 11, "red": 12}


def test_small_labels_are_left_out_and_imbalance_is_named(folder: Path, backbone: Path) -> None:
    for number in range(120):
        write_photo(folder / f"blue/more-{number}.png", COLOURS["blue"], 1000 + number)
    write_photo(folder / "single/a.png", (0, 200, 0), 7)
    for number in range(3):
        write_photo(folder / f"three/{number}.png", (200, 200, 0), 20 + number)
    (folder / "none").mkdir()
    inspected = inspect_folder(folder, str(backbone))
    assert named(inspected) == {
        "single": "one_image",
        "three": "too_few_images",
        "none": "empty_label",
        "red": "imbalance",
    }
    assert inspected.labels == ("blue", "red")


def test_fewer_than_two_usable_labels_is_one_sentence(tmp_path: Path, backbone: Path) -> None:
    for number in range(6):
        write_photo(tmp_path / f"photos/one/{number}.png", COLOURS["red"], number)
    inspected = inspect_folder(tmp_path / "photos", str(backbone))
    with pytest.raises(DataError, match=r"labels left: one \(6\)"):
        require_labels(inspected)


def test_inspecting_twice_gives_the_same(folder: Path, backbone: Path) -> None:
    first, second = (inspect_folder(folder, str(backbone)) for _ in range(2))
    np.testing.assert_array_equal(first.embeddings, second.embeddings)
