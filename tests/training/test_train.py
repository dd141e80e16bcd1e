"""`train` publishes a whole version or nothing, and says what it did."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from commands import Command
from conftest import COLOURS, write_photo
from handful.service.artifact.atomic import PARTIAL
from handful.service.artifact.errors import BackboneNotFound, DataError, UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.artifact.store import Store
from handful.service.classifier import Classifier
from handful.training.settings import TrainSettings
from handful.training.train import train_folder

pytestmark = pytest.mark.usefixtures("own_home")


def test_the_result_names_the_version_and_what_was_measured(photos: Path, backbone: Path) -> None:
    result, problems = train_folder(photos, TrainSettings(name="colours", backbone=str(backbone)))
    assert result["model"] == "colours:1"
    assert result["labels"] == ["blue", "red"]
    per_label = {"blue": 12, "red": 12}
    assert result["images"] == {
        "found": 24,
        "used": 24,
        "skipped": 0,
        "left_out": {},
        "other": 0,
        "per_label": per_label,
    }
    assert result["cv"]["accuracy"] == 1.0
    assert sum(map(sum, result["cv"]["confusion"])) == 24
    assert Path(result["report"]).is_file()
    assert set(result["seconds"]) == {"embed", "fit", "total"}
    assert Store().champion("colours") == "1"
    assert all(problem.kind == "near_duplicate" for problem in problems)


def test_a_second_run_is_a_second_version_and_the_first_stays_champion(
    home: Path, own_home: Path, photos: Path, backbone: Path
) -> None:
    shutil.copytree(home / "models", own_home / "models")
    train_folder(photos, TrainSettings(name="colours", backbone=str(backbone)))
    assert Store().versions("colours") == ["1", "2"]
    assert Store().champion("colours") == "1"


def test_a_split_folder_is_learned_from_one_part_measured_on_the_other_and_gives_its_name(
    tmp_path: Path, backbone: Path
) -> None:
    for part, count in (("train", 8), ("val", 4)):
        for label, (name, colour) in enumerate(COLOURS.items()):
            for number in range(count):
                photo = tmp_path / f"Sac à main/{part}/{name}/{number}.png"
                write_photo(photo, colour, 1000 * count + 100 * label + number)
    result, _ = train_folder(tmp_path / "Sac à main", TrainSettings(backbone=str(backbone)))
    assert result["model"] == "Sac à main:1"
    assert result["images"]["used"] == 16
    assert result["held_out"]["val"]["images"] == 8
    assert result["held_out"]["val"]["accuracy"] == 1.0


@pytest.mark.parametrize("head", ["linear", "hidden"])
def test_each_head_is_exported_and_read_back(tmp_path: Path, photos: Path, backbone: Path, head: str) -> None:
    settings = TrainSettings.model_validate({"name": "colours", "backbone": str(backbone), "head": head})
    result, _ = train_folder(photos, settings)
    classifier = Classifier.load(Path(result["path"]))
    assert classifier.card.head.kind == head
    for label, (name, colour) in enumerate(COLOURS.items()):
        photo = write_photo(tmp_path / f"new/{name}.png", colour, 500 + label)
        [prediction] = classifier.predict(classifier.read(photo)[None])
        assert int(np.argmax(prediction.probabilities)) == label


def test_the_artifact_keeps_what_a_retrain_needs(artifact: Path) -> None:
    opened = open_artifact(artifact)
    tensors = opened.embeddings()
    assert tensors["embeddings"].shape[0] == tensors["labels"].shape[0] == tensors["hashes"].shape[0] == 24
    assert tensors["hashes"].shape[1] == 32
    assert opened.card.data.per_label == {"blue": 12, "red": 12}


def test_nothing_is_published_when_there_is_nothing_to_learn(tmp_path: Path, photos: Path, backbone: Path) -> None:
    (tmp_path / "few/one").mkdir(parents=True)
    with pytest.raises(DataError):
        train_folder(tmp_path / "few", TrainSettings(backbone=str(backbone)))
    with pytest.raises(BackboneNotFound):
        train_folder(photos, TrainSettings(backbone="./nowhere"))
    with pytest.raises(UsageError):
        train_folder(photos, TrainSettings(name="../up", backbone=str(backbone)))
    assert Store().names() == []


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_whole_versions_only(own_home: Path, photos: Path, backbone: Path) -> None:
    arguments = ("train", photos, "--name", "colours", "--backbone", backbone)
    environment = {"HANDFUL_HOME": str(own_home)}
    started = time.monotonic()
    assert Command(*arguments, environment=environment).wait().returncode == 0
    whole_run = time.monotonic() - started
    moments = random.Random(0)
    for _ in range(6):
        command = Command(*arguments, environment=environment)
        time.sleep(moments.uniform(0.1, 1.0) * whole_run)
        command.kill()
        store = Store()
        for version in store.versions("colours"):
            Classifier.load(store.path("colours", version))
        Classifier.load(store.resolve("colours"))
    result, _ = train_folder(photos, TrainSettings(name="colours", backbone=str(backbone)))
    assert result["cv"]["accuracy"] == 1.0
    assert len(list((own_home / "models/colours").glob(f"{PARTIAL}*"))) <= 5
