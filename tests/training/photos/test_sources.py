"""How a folder is read before any file is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.images import content_sha256
from handful.training.photos.overlap import overlap_problems
from handful.training.photos.sources import Dataset, read_folder


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


def problems(dataset: Dataset) -> dict[tuple[str, str], str]:
    return {(problem.path, problem.kind): problem.detail for problem in dataset.problems}


def test_labels_that_differ_in_capitals_or_blanks_alone_are_suspects(tmp_path: Path) -> None:
    touch(*(tmp_path / name / "a.jpg" for name in ("Shoes", "shoes", "handbags", "handbags ", "ﬁsh")))
    found = problems(read_folder(tmp_path, known_labels=["fish", "Shoes"]))
    assert set(found) == {("Shoes", "similar"), ("handbags", "similar"), ("ﬁsh", "similar"), ("shoes", "similar")}
    assert "'shoes' only in capitals" in found["Shoes", "similar"]
    assert "'handbags ' only in blanks" in found["handbags", "similar"]
    assert "'fish' of the model only in" in found["ﬁsh", "similar"]


def test_what_only_the_test_part_has_is_said_before_anything_is_learned(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("train/cats/a.jpg", "train/dogs/b.jpg", "test/cats/a.jpg", "test/cows/c.jpg")))
    dataset = read_folder(tmp_path)
    assert dataset.first_words == [
        "read as: one folder per label, in parts, 4 photos (train 2, test 2), 2 labels",
        "test: The label cows is not in train/, so nothing of it is learned; known is cats, dogs.",
    ]
    (tmp_path / "train/cats/a.jpg").write_bytes(b"the same")
    (tmp_path / "test/cats/a.jpg").write_bytes(b"the same")
    [problem] = overlap_problems(dataset, {content_sha256(b"the same")})
    assert "1 of its 2 photos are in train/ too" in problem.detail


def test_rows_that_point_nowhere_are_counted_as_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "list.csv").write_text("path,label\na.jpg,cat\ngone.jpg,dog\na.jpg,\n")
    assert read_folder(tmp_path / "list.csv").rows_left_out == 2
