"""How a folder is read before any file is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from handful.service.artifact.errors import DataError, UsageError
from handful.training.photos.sources import read_folder


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_sub_folders_are_labels_in_the_order_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path / "shoes/a.jpg", tmp_path / "handbags/b.jpg", tmp_path / "handbags/deep/c.jpg")
    dataset = read_folder(tmp_path)
    assert dataset.labels == ("handbags", "shoes")
    assert [(e.path.name, e.label) for e in dataset.examples] == [("b.jpg", 0), ("c.jpg", 0), ("a.jpg", 1)]


def test_names_that_look_like_flags_or_csv_are_labels_like_any_other(tmp_path: Path) -> None:
    names = ("-rf", "Sac à main", 'a,b"c', "靴")
    touch(*(tmp_path / name / "a.jpg" for name in names))
    assert read_folder(tmp_path).labels == tuple(sorted(names))


def test_hidden_and_left_behind_folders_are_no_labels(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "a.jpg" for name in (".ipynb_checkpoints", "__MACOSX", "bags", "shoes")))
    assert read_folder(tmp_path).labels == ("bags", "shoes")


def test_an_empty_label_and_a_stray_file_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "bags/a.jpg", tmp_path / "stray.jpg", tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    found = {(p.path, p.kind) for p in read_folder(tmp_path).problems}
    assert found == {("empty", "empty_label"), ("stray.jpg", "no_label"), ("notes.txt", "no_label")}


@pytest.mark.parametrize("part", ["val", "valid", "validation", "test", "Val"])
def test_a_split_folder_is_read_as_its_parts(tmp_path: Path, part: str) -> None:
    touch(tmp_path / "train/bags/a.jpg", tmp_path / f"{part}/bags/b.jpg")
    dataset = read_folder(tmp_path)
    assert dataset.labels == ("bags",)
    assert [e.path.name for e in dataset.examples] == ["a.jpg"]
    assert [p.name for p in dataset.held_out] == [part]


def test_a_label_named_train_beside_other_labels_is_a_label(tmp_path: Path) -> None:
    touch(tmp_path / "train/a.jpg", tmp_path / "tram/b.jpg")
    assert read_folder(tmp_path).labels == ("train", "tram")


def test_no_folder_or_no_labels_is_one_sentence(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    with pytest.raises(UsageError, match="not there"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a photo"):
        read_folder(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="no sub-folders"):
        read_folder(tmp_path)
