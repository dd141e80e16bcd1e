"""`train --int8`: kept where the answers stay as they are, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import COLOURS, write_photo
from handful.service.artifact.errors import ImageError
from handful.service.artifact.folder import open_artifact
from handful.service.classifier import Classifier
from handful.service.compute.device import best_device, has_native_int8
from handful.training.retraining.command import retrain_folder
from handful.training.settings import RetrainSettings, TrainSettings
from handful.training.train import train_folder
from safetensors.torch import load_file, save_file
from tiny_networks import copy_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_home")]

NATIVE = has_native_int8(best_device())


def test_it_is_kept_and_used_where_it_changes_no_answers(tmp_path: Path, photos: Path, backbone: Path) -> None:
    result, _ = train_folder(photos, TrainSettings(name="small", backbone=str(backbone), int8=True))
    assert result["int8"]["kept"]
    assert result["int8"]["images"] == 24
    path = tmp_path / "home/models/small/1"
    card = open_artifact(path).card
    assert card.int8 is not None
    assert card.int8.answers_changed == result["int8"]["answers_changed"]
    small = Classifier.load(path)
    assert (small.network.engine.name == "int8") == NATIVE
    train_folder(photos, TrainSettings(name="plain", backbone=str(backbone)))
    plain = Classifier.load(tmp_path / "home/models/plain/1")
    assert plain.card.int8 is None
    files = sorted(photos.rglob("*.*"))
    for (_, one), (_, other) in zip(plain.classify(files), small.classify(files), strict=True):
        assert not isinstance(one, ImageError)
        assert not isinstance(other, ImageError)
        np.testing.assert_allclose(
            one.probabilities, other.probabilities, atol=0.06
        )  # a random network tells little apart


@pytest.mark.parametrize("outlier", [3e4])
def test_it_is_not_kept_where_the_integers_cannot_hold_what_matters(
    tmp_path: Path, photos: Path, backbone: Path, outlier: float
) -> None:
    """One channel of the embedding so large that all others together are less than one step of its scale."""
    odd = copy_of(backbone, tmp_path / "odd")
    weights = load_file(odd / "model.safetensors")
    weights["layer4.0.bn2.weight"][0] = 0.0
    weights["layer4.0.bn2.bias"][0] = outlier
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, odd / "model.safetensors")
    result, _ = train_folder(photos, TrainSettings(name="odd", backbone=str(odd), int8=True))
    assert not result["int8"]["kept"]
    assert "got another answer" in result["int8"]["reason"]
    assert open_artifact(tmp_path / "home/models/odd/1").card.int8 is None


def test_a_network_that_it_does_not_suit_is_trained_all_the_same(tmp_path: Path, photos: Path) -> None:
    import timm
    from timm.models import save_for_hf

    description = {"input_size": (3, 32, 32), "first_conv": "features.conv0", "classifier": "classifier"}
    torch.manual_seed(0)
    network = timm.create_model(
        "densenet121", num_classes=7, pretrained_cfg=description, growth_rate=8, block_config=(2, 2)
    )
    save_for_hf(
        network, str(tmp_path / "dense"), safe_serialization=True, model_args={"growth_rate": 8, "block_config": (2, 2)}
    )
    settings = TrainSettings(name="dense", backbone=str(tmp_path / "dense"), int8=True)
    result, _ = train_folder(photos, settings)
    assert result["int8"] == {"kept": False, "reason": result["int8"]["reason"]}
    assert "convolutions" in result["int8"]["reason"]


def test_a_retrain_keeps_it_and_learns_in_the_networks_own_precision(
    tmp_path: Path, photos: Path, backbone: Path
) -> None:
    for name, int8 in (("small", True), ("plain", False)):
        train_folder(photos, TrainSettings(name=name, backbone=str(backbone), int8=int8))
    new = tmp_path / "new"
    for number in range(3):
        write_photo(new / "red" / f"{number}.png", COLOURS["red"], 900 + number)
    kept = []
    for name in ("small", "plain"):
        result, _ = retrain_folder(new, RetrainSettings(model=name))
        kept.append(open_artifact(Path(result["path"])))
    assert kept[0].card.int8 is not None
    assert kept[1].card.int8 is None
    assert torch.equal(kept[0].embeddings()["embeddings"], kept[1].embeddings()["embeddings"])
