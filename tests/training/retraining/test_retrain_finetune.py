"""`retrain --finetune --with OLD`: all photos again, from the pretrained weights, judged on the same folds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import COLOURS, home_at, write_photo
from handful.service.artifact.errors import BackboneUnsupported, DataError, UsageError
from handful.service.artifact.folder import Artifact, open_artifact
from handful.training.cli import retrain
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.settings import FineTuneSettings
from handful.training.learning import learn_model
from handful.training.retraining.challenger import answers_to_compare
from handful.training.retraining.champion import ChampionModel
from handful.training.retraining.command import retrain_folder
from handful.training.retraining.gate import decide
from handful.training.retraining.photos import RetrainPhotos, read_again
from handful.training.settings import RetrainSettings
from handful.training.train import train_folder
from safetensors.torch import load_file
from stripes import LABELS, write_stripes
from tune_stripes import quick_settings

pytestmark = pytest.mark.slow


IDLE = FineTuneSettings(epochs=1, learning_rate=1e-7)  # learns nothing


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`old`, and `new` with other photos, one of them an old one."""
    folder = tmp_path_factory.mktemp("stripes")
    write_stripes(folder / "old", 44)
    write_stripes(folder / "all", 52)
    for label in LABELS:
        (folder / "new" / label).mkdir(parents=True)
        for number in range(43, 52):
            shutil.copy(folder / f"all/{label}/{number:02}.png", folder / f"new/{label}/{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, stripes: Path, backbone: Path) -> dict[str, Any]:
    """`stripes:2`, fine-tuned on top of a frozen `stripes:1`."""
    home = tmp_path_factory.mktemp("home")
    with home_at(home):
        train_folder(stripes / "old", quick_settings(backbone).model_copy(update={"finetune": None}))
    return run(stripes / "new", home, finetune=quick_settings(backbone).finetune, old=(stripes / "old",))


def run(folder: Path | None, home: Path, **settings: Any) -> dict[str, Any]:
    with home_at(home):
        return retrain_folder(folder, RetrainSettings(**settings))[0]


def opened(result: dict[str, Any]) -> Artifact:
    return open_artifact(Path(result["path"]))


def test_both_folders_are_learned_each_picture_once(tuned: dict[str, Any]) -> None:
    assert tuned["images"]["per_label"] == {"lying": 52, "standing": 52}
    assert (tuned["known"], tuned["new"], tuned["missing"], tuned["relabelled"]) == (88, 16, 0, [])
    assert tuned["images"]["skipped"] == 0


def test_champion_and_challenger_answer_the_same_photos_and_the_better_one_takes_over(tuned: dict[str, Any]) -> None:
    assert tuned["finetune"]["kept"], tuned["finetune"]["reason"]
    assert tuned["promoted"], tuned["reason"]
    for photos, images in (("known", 88), ("new", 16)):
        assert tuned["champion"][photos]["images"] == tuned["challenger"][photos]["images"] == images
    assert tuned["challenger"]["known"]["accuracy"] > tuned["champion"]["known"]["accuracy"]
    card = opened(tuned).card
    assert (card.parent, card.version) == ("stripes:1", "2")
    assert card.finetune is not None
    assert not list((Path(tuned["path"]).parents[2] / "cache/finetune").iterdir())


def test_known_photos_keep_their_folds(tuned: dict[str, Any]) -> None:
    after = opened(tuned).embeddings()
    before = open_artifact(Path(tuned["path"]).with_name("1")).embeddings()
    assert torch.equal(before["hashes"], after["hashes"][:88])
    assert torch.equal(before["folds"][:, :1], after["folds"][:88])  # more than a hundred are judged once


def test_what_was_said_out_of_fold_is_kept_and_carried_along(tuned: dict[str, Any], tmp_path: Path) -> None:
    answers = opened(tuned).embeddings()["answers"]
    assert answers.shape == (104, 2)
    right = answers.argmax(1) == opened(tuned).embeddings()["labels"]
    assert float(right.float().mean()) == pytest.approx(tuned["cv"]["accuracy"])
    home = copied(tuned, tmp_path)
    green = [write_photo(tmp_path / "green/green" / f"{n}.png", (30, 200, 40), n) for n in range(6)]
    later = opened(run(green[0].parents[1], home, promote="always"))
    assert later.card.finetune == opened(tuned).card.finetune
    assert torch.equal(later.embeddings()["answers"][:104, :2], answers)
    assert later.embeddings()["answers"].shape == (110, 3)
    renamed = opened(run(None, home, drop=("green",), rename={"lying": "flat"})).embeddings()["answers"]
    assert float((renamed - answers).abs().max()) < 1e-5


def copied(tuned: dict[str, Any], folder: Path) -> Path:
    shutil.copytree(Path(tuned["path"]).parents[1], folder / "home/models")
    return folder / "home"


def test_a_tuned_champion_is_compared_by_what_it_said_out_of_fold(
    tuned: dict[str, Any], tmp_path: Path, stripes: Path, backbone: Path
) -> None:
    old = (stripes / "old", stripes / "new")
    result = run(None, copied(tuned, tmp_path), finetune=IDLE, old=old)
    assert not result["finetune"]["kept"]
    assert result["champion"]["known"]["images"] == 104
    assert result["champion"]["known"]["accuracy"] == pytest.approx(tuned["cv"]["accuracy"])
    assert result["challenger"]["known"]["accuracy"] < result["champion"]["known"]["accuracy"]
    assert opened(result).card.finetune is None
    pretrained, now = load_file(backbone / "model.safetensors"), opened(result).weights()
    assert torch.equal(pretrained["layer4.0.conv1.weight"], now["layer4.0.conv1.weight"])
    assert "answers" not in opened(result).embeddings()


def test_other_pretrained_weights_than_the_champions_are_refused(
    tuned: dict[str, Any], tmp_path: Path, backbone: Path
) -> None:
    moved = shutil.copytree(backbone, tmp_path / "backbone")
    weights = load_file(moved / "model.safetensors")
    champion = ChampionModel.load(Path(tuned["path"]))
    named = champion.card.backbone.model_copy(update={"ref": str(moved)})
    champion.artifact.__dict__["card"] = champion.card.model_copy(update={"backbone": named})
    assert champion.pretrained().sha256 == named.sha256
    torch.save({name: tensor + 1 for name, tensor in weights.items()}, moved / "pytorch_model.bin")
    (moved / "model.safetensors").unlink()
    with pytest.raises(BackboneUnsupported, match="are not those that stripes:2 was fine-tuned from"):
        champion.pretrained()


def colours(folder: Path, seed: int, **labels: Sequence[int]) -> Path:
    for name, numbers in labels.items():
        for number in numbers:
            write_photo(folder / name / f"{number:02}.png", COLOURS["red"], seed + number)
    return folder


def read(artifact: Path, tmp_path: Path, *folders: Path, drop: Sequence[str] = (), **rename: str) -> RetrainPhotos:
    with home_at(tmp_path):
        return read_again(ChampionModel.load(artifact), folders, RetrainSettings(drop=tuple(drop), rename=rename))


def test_of_a_picture_in_several_folders_the_last_folders_label_holds(
    artifact: Path, photos: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    (new / "blue").mkdir(parents=True)
    shutil.copy(photos / "red/00.jpg", new / "blue/again.jpg")
    shutil.copy(photos / "blue/00.jpg", new / "blue/same.jpg")
    photos_read = read(artifact, tmp_path, photos, new)
    assert [(change.former, change.label) for change in photos_read.inspected.relabelled] == [("red", "blue")]
    assert photos_read.inspected.relabelled[0].path.endswith("new/blue/again.jpg")
    assert photos_read.inspected.per_label == {"blue": 13, "red": 11}
    assert photos_read.inspected.problems == ()
    assert (photos_read.missing, len(photos_read.fresh)) == (0, 0)


def test_known_photos_that_no_folder_holds_are_counted(artifact: Path, photos: Path, tmp_path: Path) -> None:
    part = shutil.copytree(photos, tmp_path / "part")
    (part / "red/00.jpg").unlink()
    photos_read = read(artifact, tmp_path, part, colours(tmp_path / "new", 7000, red=range(3)))
    assert (photos_read.missing, photos_read.inspected.known, len(photos_read.fresh)) == (1, 23, 3)
    known = ChampionModel.load(artifact).known
    assert photos_read.known.folds is not None
    assert known.folds is not None
    row = [image.kept_as for image in known.images].index("red/00.jpg")
    assert np.array_equal(photos_read.known.folds, np.delete(known.folds, row, axis=0))


def test_a_known_label_without_photos_is_an_error_unless_it_is_dropped(
    artifact: Path, photos: Path, tmp_path: Path
) -> None:
    part = shutil.copytree(photos, tmp_path / "part")
    shutil.rmtree(part / "red")
    colours(part, 7000, scarlet=range(5))
    with pytest.raises(DataError, match="no photo of red, which colours:1 knows"):
        read(artifact, tmp_path, part)
    assert read(artifact, tmp_path, part, drop=["red"]).inspected.labels == ("blue", "scarlet")


def test_labels_are_renamed_and_dropped_in_all_folders(artifact: Path, photos: Path, tmp_path: Path) -> None:
    new = colours(tmp_path / "new", 7000, red=range(2), odd=range(10, 16), scarlet=range(20, 22))
    photos_read = read(artifact, tmp_path, photos, new, drop=["odd"], red="scarlet")
    assert photos_read.inspected.per_label == {"blue": 12, "scarlet": 16}
    assert photos_read.inspected.relabelled == ()
    with pytest.raises(UsageError, match="--drop names 'green'; labels of the model and the folders: blue, red, odd"):
        read(artifact, tmp_path, photos, new, drop=["green"])


def test_an_old_label_may_have_new_photos_only(artifact: Path, photos: Path, tmp_path: Path) -> None:
    part = shutil.copytree(photos, tmp_path / "part")
    shutil.rmtree(part / "red")
    photos_read = read(artifact, tmp_path, part, colours(tmp_path / "new", 7000, red=range(8)))
    assert (photos_read.missing, len(photos_read.fresh), photos_read.inspected.known) == (12, 8, 12)
    champion, settings = ChampionModel.load(artifact), RetrainSettings()
    learned = learn_model(photos_read.backbone, photos_read.inspected, champion.learn_settings(settings), Ranks())
    known, new, _ = answers_to_compare(champion, photos_read, learned, settings)
    assert [len(known.labels), len(new.labels)] == [12, 8]
    assert decide("colours:1", known, new)[0].passed


def test_what_is_asked_for_must_fit_together(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--with OLD_FOLDER"):
        run(photos, home, finetune=IDLE)
    with pytest.raises(UsageError, match="which only --finetune needs"):
        run(photos, home, old=(photos,))
    monkeypatch.setenv("HANDFUL_HOME", str(home))
    for flags, message in (
        (["--finetune"], "--with OLD_FOLDER"),
        (["--finetune", "--with", "A", "--with", "B"], "A is not"),
    ):
        failed = CliRunner().invoke(retrain, [str(photos), *flags])
        assert isinstance(failed.exception, UsageError)
        assert message in str(failed.exception)
