"""Photos of no label: in a folder `other/` or named by --other, kept, learned further, and weighed by the gate."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import COLOURS, home_at, write_photo
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.classifier import Classifier
from handful.training.retraining.command import retrain_folder
from handful.training.settings import RetrainSettings, TrainSettings
from handful.training.train import train_folder

GREEN = (30, 200, 40)


@pytest.fixture
def own(tmp_path: Path, home: Path) -> Path:
    shutil.copytree(home / "models", tmp_path / "home/models")
    return tmp_path / "home"


def green(folder: Path, count: int, seed: int = 700) -> Path:
    for number in range(count):
        write_photo(folder / f"{number}.png", GREEN, seed + number)
    return folder


def learn(folder: Path | None, home: Path, **settings: Any) -> dict[str, Any]:
    with home_at(home):
        return retrain_folder(folder, RetrainSettings(**settings))[0]


def newest(home: Path) -> Any:
    path = max((home / "models/colours").iterdir(), key=lambda each: int(each.name) if each.name.isdecimal() else 0)
    return open_artifact(path)


def test_they_are_kept_and_are_no_label(own: Path, tmp_path: Path) -> None:
    green(tmp_path / "new/other", 6)
    result = learn(tmp_path / "new", own)
    artifact = newest(own)
    assert (result["labels"], result["images"]["other"], result["images"]["skipped"]) == (["blue", "red"], 6, 0)
    assert result["gate"]["other"]["images"] == 6
    card = artifact.card
    assert (card.data.other, card.unknown.method) == (6, "cosine_to_label_mean_and_other")
    tensors = artifact.embeddings()
    assert tensors["other.embeddings"].shape == (6, tensors["embeddings"].shape[1])
    assert Classifier.from_artifact(artifact).unknown.other is not None
    again = learn(tmp_path / "new", own, promote="always")
    if result["promoted"]:
        assert again["challenger"] is None  # nothing is new


def test_they_take_part_in_the_next_retrain_and_can_be_dropped(own: Path, tmp_path: Path) -> None:
    learn(None, own, other=(green(tmp_path / "first", 5),), promote="always")
    result = learn(None, own, other=(green(tmp_path / "more", 4, seed=900),), promote="always")
    assert result["images"]["other"] == 9
    assert newest(own).embeddings()["other.hashes"].shape == (9, 32)
    result = learn(None, own, drop=("other",), promote="always")
    card = newest(own).card
    assert (result["images"]["other"], card.data.other, card.unknown.method) == (0, 0, "cosine_to_label_mean")
    assert card.unknown.other_refused is None


def test_a_photo_moves_between_a_label_and_none(own: Path, photos: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved/other"
    moved.mkdir(parents=True)
    shutil.copy(photos / "red/00.jpg", moved)
    result = learn(tmp_path / "moved", own, promote="always")
    assert [(each["former"], each["label"]) for each in result["relabelled"]] == [("red", "other")]
    assert (result["images"]["per_label"], result["images"]["other"]) == ({"blue": 12, "red": 11}, 1)
    assert [problem["kind"] for problem in result["problems"]] == ["few_other"]
    back = tmp_path / "back/red"
    back.mkdir(parents=True)
    shutil.copy(photos / "red/00.jpg", back)
    result = learn(tmp_path / "back", own, promote="always")
    assert (result["images"]["per_label"], result["images"]["other"]) == ({"blue": 12, "red": 12}, 0)


def test_photos_of_a_label_in_other_are_held_back(own: Path, tmp_path: Path) -> None:
    for number in range(8):
        write_photo(tmp_path / f"poison/other/{number}.png", COLOURS["red"], 4000 + number)
    result = learn(tmp_path / "poison", own)
    assert not result["promoted"]
    assert "8 new photos of no label with a label" in result["reason"]
    assert result["gate"]["other"]["challenger_refused"] < 4


def test_photos_of_a_label_among_many_others_are_held_back_too(own: Path, tmp_path: Path) -> None:
    learn(None, own, other=(green(tmp_path / "first", 20),), promote="always")
    for number in range(6):
        write_photo(tmp_path / f"poison/other/{number}.png", COLOURS["red"], 4000 + number)
    result = learn(tmp_path / "poison", own)
    assert (result["promoted"], result["new_other"], result["images"]["other"]) == (False, 6, 26)
    assert "6 new photos of no label with a label" in result["reason"]


def test_a_picture_under_a_label_and_in_other_is_left_out_of_both(own: Path, tmp_path: Path) -> None:
    green(tmp_path / "new/other", 5)
    write_photo(tmp_path / "new/red/a.png", COLOURS["red"], 77)
    shutil.copy(tmp_path / "new/red/a.png", tmp_path / "new/other/same.png")
    result = learn(tmp_path / "new", own)
    assert result["images"]["other"] == 5
    assert result["images"]["left_out"] == {"two_labels": 2}


def test_a_label_cannot_be_renamed_to_other(own: Path) -> None:
    with pytest.raises(UsageError, match="which is no label"):
        learn(None, own, rename={"red": "other"})


def test_other_must_name_a_folder(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there; a folder of photos of no label"):
        learn(None, own, other=(tmp_path / "nowhere",))


def test_one_label_beside_photos_of_no_label(photos: Path, backbone: Path, own_home: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "red", tmp_path / "one/red")
    green(tmp_path / "one/other", 8)
    result = train_folder(tmp_path / "one", TrainSettings(backbone=str(backbone)))[0]
    assert (result["labels"], result["images"]["other"]) == (["red"], 8)
    assert "images of no label" in (own_home / "models/one/1/README.md").read_text()
