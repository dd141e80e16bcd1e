"""`--backbone auto`: the best network on a person's photos beyond noise, and the fastest among equals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import handful
from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.compute.network import Network
from handful.training.backbone import Backbone, load_backbone
from handful.training.checks import backbones_to_try, check_backbone, check_backbones
from handful.training.finetune.distributed import Ranks
from handful.training.head.folds import Folds
from handful.training.head.labelled import LabelledEmbeddings
from handful.training.head.selection import HeadSettings
from handful.training.ladder.backbone_table import backbone_lines
from handful.training.ladder.backbones import (
    BackboneTrial,
    choose_backbone,
    fastest,
    gains_of_best,
    on_same_photos,
)
from handful.training.learning import embed_folder
from handful.training.metrics import metrics
from handful.training.photos.inspection import Inspected
from handful.training.photos.sources import read_folder
from handful.training.settings import TrainSettings
from handful.training.train import train_folder
from tiny_networks import TINY, save_network

LABELS = np.tile([0, 1], 60)
DATA = LabelledEmbeddings(np.zeros((120, 1), np.float32), LABELS, np.arange(120), 2)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("larger"), {**TINY, "channels": (8, 8, 16, 64)})


@pytest.fixture(scope="module")
def inspected(photos: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Inspected:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HANDFUL_HOME", str(tmp_path_factory.mktemp("home")))
        return embed_folder(read_folder(photos), load_backbone(str(backbone)))[0]


def trial(backbone: Backbone, inspected: Inspected, wrong: int, speed: float) -> BackboneTrial:
    """A network that answers 90 % sure, and so many of 120 photos wrongly."""
    right = np.where(np.arange(120) < wrong, 0.1, 0.9)
    answers = np.where(np.eye(2, dtype=bool)[LABELS], right[:, None], 1 - right[:, None])
    measured = metrics(answers, LABELS, ("blue", "red"), DATA.groups)
    return BackboneTrial(backbone, inspected, 0.0, Network(backbone.network), answers, measured, speed)


def test_a_slow_network_wins_only_where_it_is_better_beyond_noise(
    backbone: Path, larger: Path, inspected: Inspected
) -> None:
    small, large = load_backbone(str(backbone)), load_backbone(str(larger))

    def taken(*trials: BackboneTrial) -> int:
        return fastest(trials, gains_of_best(trials, DATA, seed=0))

    assert taken(trial(small, inspected, 30, 900), trial(large, inspected, 2, 100)) == 1
    assert taken(trial(small, inspected, 4, 900), trial(large, inspected, 3, 100)) == 0
    # about as fast: the smaller one
    assert taken(trial(large, inspected, 3, 110), trial(small, inspected, 3, 100)) == 1
    assert taken(trial(large, inspected, 3, 200), trial(small, inspected, 3, 100)) == 0


@pytest.mark.usefixtures("own_home")
def test_the_table_is_of_one_set_of_folds_and_says_what_was_taken(photos: Path, backbone: Path, larger: Path) -> None:
    backbones = [load_backbone(str(backbone)), load_backbone(str(larger))]
    chosen = choose_backbone(backbones, read_folder(photos), HeadSettings(), 0, Ranks(), thumbnails=False)
    result = chosen.result
    assert [each["ref"] for each in result["tried"]] == [str(backbone), str(larger)]
    assert [each["ref"] for each in result["tried"] if each["chosen"]] == [result["chosen"]]
    assert all(each["licence"] == "mit" and each["images_per_second"] > 0 for each in result["tried"])
    assert result["tried"][1]["megabytes"] >= result["tried"][0]["megabytes"] > 0
    assert result["images"] == 24
    text = "\n".join(backbone_lines(result))
    assert "2 pretrained networks on the same folds of these 24 photos:" in text
    assert f"{result['chosen']} is taken: both networks answer these photos equally well within noise" in text
    assert "measured in this run" in text
    assert backbone_lines(None) == []


def test_photos_that_any_network_takes_for_near_duplicates_stay_together(inspected: Inspected) -> None:
    apart = replace(inspected, groups=np.arange(24))
    pair = replace(apart, groups=np.where(np.arange(24) == 5, 2, np.arange(24)))
    other = replace(apart, groups=np.where(np.arange(24) == 9, 5, np.arange(24)), images=apart.images)
    first, second, third = on_same_photos([apart, pair, other])
    assert first.groups[2] == first.groups[5] == first.groups[9]
    assert len(np.unique(first.groups)) == 22
    assert (first.groups == second.groups).all()
    assert (first.groups == third.groups).all()
    fewer = replace(apart, images=apart.images[1:], label_index=apart.label_index[1:], groups=apart.groups[1:])
    both = on_same_photos([apart, fewer])
    assert [len(each) for each in both] == [23, 23]
    assert (both[0].embeddings == both[1].embeddings).all()
    assert (
        Folds.make(both[0].labels, both[0].groups, 0).numbers == Folds.make(both[1].labels, both[1].groups, 0).numbers
    ).all()


@pytest.mark.usefixtures("own_home")
def test_one_label_has_nothing_to_compare(tmp_path: Path, photos: Path, backbone: Path) -> None:
    only = tmp_path / "only"
    only.mkdir()
    (only / "red").symlink_to(photos / "red")
    loaded = [load_backbone(str(backbone))]
    with pytest.raises(DataError, match="there is only one; name one network"):
        choose_backbone(loaded, read_folder(only), HeadSettings(), 0, Ranks(), thumbnails=False)


def test_what_auto_names_is_checked_before_any_work(tmp_path: Path, photos: Path, backbone: Path) -> None:
    assert backbones_to_try("auto") == ("builtin", "builtin-resnet")
    assert backbones_to_try("auto:ORG/NAME@v1, builtin,./x") == ("builtin", "builtin-resnet", "ORG/NAME@v1", "./x")
    assert backbones_to_try("automatic/name") == ()
    check_backbones(f"auto:{backbone},timm/resnet18.a1_in1k")
    for wrong in ("auto:", "auto:auto", f"auto:{backbone},"):
        with pytest.raises(UsageError, match="further networks are expected"):
            check_backbones(wrong)
    with pytest.raises(UsageError, match="allowed: ORG/NAME"):
        check_backbone("auto")  # of a command that takes one network
    done = handful(tmp_path, "train", photos, "--backbone", "auto:timm/not-here")
    assert done.returncode == 2
    assert "'timm/not-here'" in done.stderr
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / "cache").exists()  # nothing was computed


@pytest.mark.slow
def test_the_model_is_the_one_that_the_chosen_network_makes_alone(
    tmp_path: Path, photos: Path, backbone: Path, own_home: Path
) -> None:
    few = tmp_path / "few"
    for photo in (each for each in photos.glob("*/*") if int(each.stem) < 7):
        (few / photo.parent.name).mkdir(parents=True, exist_ok=True)
        (few / photo.parent.name / photo.name).symlink_to(photo)
    done = handful(own_home, "train", few, "--name", "best", "--backbone", f"auto:{backbone}", "--json")
    assert done.returncode in {0, 1}, done.stderr
    result = json.loads(done.stdout)
    chosen = result["backbones"]["chosen"]
    assert [each["ref"] for each in result["backbones"]["tried"]] == ["builtin", "builtin-resnet", str(backbone)]
    assert f"{chosen} was chosen of 3 networks" in done.stderr
    named, _ = train_folder(few, TrainSettings(name="named", backbone=chosen))
    assert result["cv"] == json.loads(json.dumps(named["cv"]))
    cards = [open_artifact(Path(each["path"])).card for each in (result, named)]
    assert cards[0].backbone == cards[1].backbone
    assert cards[0].files["model.safetensors"] == cards[1].files["model.safetensors"]
    assert "backbones" not in named
