"""The networks that come with the installation, and models that were trained with what `builtin` was before."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import handful
from conftest import COLOURS, write_photo
from handful.service.artifact.errors import BackboneNotFound, BackboneUnsupported
from handful.service.artifact.folder import open_artifact
from handful.training.backbone import Backbone, load_backbone
from handful.training.builtin.networks import FORMER, PACKAGE, SHA256, WEIGHTS, builtin_files, renamed
from handful.training.retraining.champion import ChampionModel

OLD = Path(__file__).parents[1] / "fixtures/artifact-2"
FORMER_SHA256 = next(iter(FORMER))
MODULE = PACKAGE.replace("-", "_")


@pytest.fixture(scope="module")
def builtin() -> Backbone:
    return load_backbone("builtin")


def stripes(side: int) -> torch.Tensor:
    """(1, 3, side, side) float32 between -1 and 1, made of whole numbers."""
    y, x = np.mgrid[:side, :side]
    channels = [(x * 3 + y * (5 * channel + 2)) % 256 for channel in range(3)]
    return torch.from_numpy(np.stack(channels).astype(np.float32))[None] / 127.5 - 1


def test_builtin_is_the_pinned_imagenet_network(builtin: Backbone) -> None:
    assert builtin.sha256 == SHA256
    assert builtin.config["architecture"] == "tf_efficientnet_lite2"
    assert builtin.config["pretrained_cfg"]["license"] == "apache-2.0"
    assert builtin.preprocessing.mean == (0.5, 0.5, 0.5)
    with torch.inference_mode():
        (embedding,) = builtin.network(stripes(260))
    assert embedding.shape == (builtin.config["num_features"],)
    assert int(embedding.argmax()) == 467  # computed once from the package's file
    assert float(embedding.norm()) == pytest.approx(18.678, abs=0.01)
    assert embedding[:6].tolist() == pytest.approx([0, 0, 1.236, 0, 0.1476, 3.146], abs=0.002)


def test_tensors_are_renamed_only_where_kind_and_shape_are_the_same() -> None:
    names = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2)}
    given = {"x.weight": torch.ones(2, 3), "x.bias": torch.ones(2)}
    assert list(renamed(given, names)) == ["a.weight", "a.bias"]
    assert renamed(given, names)["a.bias"] is given["x.bias"]
    for other in (
        {"x.weight": torch.ones(3, 2), "x.bias": torch.ones(2)},
        {"x.weight": torch.ones(2, 3), "x.running_mean": torch.ones(2)},
        {"x.weight": torch.ones(2, 3)},
    ):
        with pytest.raises(ValueError, match=r"is not|shorter|longer"):
            renamed(other, names)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package that is found in place of the one with the weights."""
    folder = tmp_path / MODULE
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return folder


def test_other_weights_or_none_are_one_sentence_that_names_the_ways_out(package: Path) -> None:
    with pytest.raises(BackboneNotFound, match=rf"lacks {WEIGHTS}: install {PACKAGE}=="):
        load_backbone("builtin")
    (package / WEIGHTS).parent.mkdir()
    (package / WEIGHTS).write_bytes(b"other")
    with pytest.raises(BackboneUnsupported, match=rf"sha256 .*, expected {SHA256[:12]}.*install {PACKAGE}=="):
        load_backbone("builtin")


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if not (Path(each) / MODULE).is_dir()])
    with pytest.raises(BackboneNotFound, match=f"not installed: install {PACKAGE}=="), builtin_files("builtin"):
        pass


def former_model(home: Path, *, fine_tuned: bool) -> Path:
    """A model of an earlier release, whose card names the ResNet as `builtin`."""
    folder = home / "models/colours/1"
    shutil.copytree(OLD, folder)
    card = json.loads((folder / "card.json").read_text())
    card["backbone"] = {"ref": "builtin", "revision": None, "sha256": FORMER_SHA256}
    if fine_tuned:
        gains = {"accuracy_gain": 0.1, "log_loss_gain": 0.1}
        intervals = {f"{name}_ci95": [0.05, 0.15] for name in gains}
        card["finetune"] = {"layer": None, "settings": {}, **gains, **intervals}
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def test_a_model_that_was_fine_tuned_from_the_former_builtin_starts_from_its_weights_again(tmp_path: Path) -> None:
    backbone = ChampionModel.load(former_model(tmp_path, fine_tuned=True)).pretrained()
    assert (backbone.ref, backbone.sha256) == ("builtin-resnet", FORMER_SHA256)
    assert backbone.config["architecture"] == "resnet50"
    assert backbone.config["num_features"] == 704


def test_a_model_of_the_former_builtin_is_retrained_with_its_own_network(tmp_path: Path) -> None:
    before = open_artifact(former_model(tmp_path / "home", fine_tuned=False))
    for label, (name, colour) in enumerate(COLOURS.items()):
        for photo in range(3):
            write_photo(tmp_path / "new" / name / f"{photo}.png", colour, 7000 + 100 * label + photo)
    done = handful(tmp_path / "home", "retrain", tmp_path / "new", "--json")
    assert done.returncode in {0, 1}, done.stderr  # 1: of near-duplicates, which a random network sees
    after = open_artifact(Path(json.loads(done.stdout)["path"]))
    assert (after.card.backbone.ref, after.card.backbone.sha256) == ("builtin-resnet", FORMER_SHA256)
    old, new = before.weights(), after.weights()
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith(("fc.", "head.")))
