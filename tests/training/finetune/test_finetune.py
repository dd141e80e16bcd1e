"""`train --finetune`: what is kept and exported; stopping it or adding a process does not change the result."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from conftest import home_at
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import open_artifact
from handful.service.classifier import Classifier
from handful.training.finetune.settings import FineTuneSettings
from handful.training.train import train_folder
from safetensors.torch import load_file
from stripes import write_stripes
from tune_stripes import quick_settings

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests/tune_stripes.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("stripes") / "photos", 50)


def trained(folder: Path, home: Path, backbone: Path, **other: Any) -> dict[str, Any]:
    with home_at(home):
        return train_folder(folder, quick_settings(backbone).model_copy(update=other))[0]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, stripes: Path, backbone: Path) -> dict[str, Any]:
    return trained(stripes, tmp_path_factory.mktemp("home"), backbone)


def test_what_the_frozen_backbone_cannot_tell_apart_is_learned(tuned: dict[str, Any]) -> None:
    result = tuned["finetune"]
    assert result["kept"], result["reason"]
    assert result["gain"] > 0.1
    assert result["log_loss_gain_ci95"][0] > 0
    assert result["epochs"] > 0


def test_the_artifact_holds_the_tuned_network_and_says_so(tuned: dict[str, Any], backbone: Path) -> None:
    artifact = open_artifact(Path(tuned["path"]))
    card = artifact.card
    assert card.finetune is not None
    assert card.finetune.layer is None
    assert card.finetune.settings["epochs"] == tuned["finetune"]["epochs"]
    pretrained, now = load_file(backbone / "model.safetensors"), artifact.weights()
    assert not torch.equal(pretrained["layer4.0.conv1.weight"], now["layer4.0.conv1.weight"])
    assert torch.equal(pretrained["bn1.running_mean"], now["bn1.running_mean"])


def test_timm_opens_it_and_gives_the_same_logits(tuned: dict[str, Any], stripes: Path) -> None:
    classifier = Classifier.load(Path(tuned["path"]))
    network = timm.create_model(f"local-dir:{tuned['path']}", pretrained=True).eval()
    pixels = torch.stack([classifier.read(path) for path in sorted(stripes.rglob("*.png"))])
    ours = classifier.network.logits(classifier.network.embed(pixels))
    with torch.no_grad():
        theirs = network(pixels)
    assert float((ours - theirs).abs().max()) < 0.05 * float(theirs.abs().max())  # ours may be in bfloat16


def test_the_kept_embeddings_are_the_tuned_networks(tuned: dict[str, Any], stripes: Path) -> None:
    classifier = Classifier.load(Path(tuned["path"]))
    tensors = open_artifact(Path(tuned["path"])).embeddings()
    kept, hashes = tensors["embeddings"], [row.numpy().tobytes().hex() for row in tensors["hashes"]]
    paths = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in stripes.rglob("*.png")}
    pixels = torch.stack([classifier.read(paths[content]) for content in hashes])
    now = classifier.network.embed(pixels)
    assert float((now - kept).abs().max()) < 0.02 * float(kept.abs().max())


def test_nothing_is_left_in_the_cache_when_it_is_done(tuned: dict[str, Any]) -> None:
    home = Path(tuned["path"]).parents[2]
    assert not list((home / "cache/finetune").iterdir())


@pytest.mark.slow
def test_where_nothing_is_gained_the_frozen_network_is_exported(tmp_path: Path, stripes: Path, backbone: Path) -> None:
    slow = FineTuneSettings(epochs=1, learning_rate=1e-7)
    frozen = trained(stripes, tmp_path / "frozen", backbone, finetune=None)
    kept_frozen = trained(stripes, tmp_path / "tuned", backbone, finetune=slow)
    assert not kept_frozen["finetune"]["kept"]
    reason = kept_frozen["finetune"]["reason"]
    assert "not better than the frozen backbone" in reason or "no epoch lowered the log loss" in reason
    assert kept_frozen["cv"] == frozen["cv"]
    cards = [open_artifact(Path(result["path"])).card for result in (frozen, kept_frozen)]
    assert cards[0].files == cards[1].files
    assert cards[1].finetune is None


def test_a_layer_that_is_not_there_is_said_before_anything_is_read(tmp_path: Path, backbone: Path) -> None:
    (tmp_path / "photos/one").mkdir(parents=True)
    with pytest.raises(UsageError, match="allowed for this backbone: conv1"):
        trained(tmp_path / "photos", tmp_path / "home", backbone, finetune=FineTuneSettings(layer="fc"))


def command(*words: object) -> list[str]:
    return [sys.executable, *map(str, words)]


def weights(home: Path) -> dict[str, torch.Tensor]:
    return load_file(home / "models/stripes/1/model.safetensors")


@pytest.mark.slow
def test_stopped_and_started_again_it_ends_as_if_it_had_not_been(
    tmp_path: Path, tuned: dict[str, Any], stripes: Path, backbone: Path
) -> None:
    line = command(SCRIPT, stripes, backbone, tmp_path)
    process = subprocess.Popen(line, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((tmp_path / "cache/finetune").glob("*/answers-1.pt")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode != 0
    assert "run the same command again" in stderr
    begun = {path.name for path in (tmp_path / "cache/finetune").glob("*/answers-*.pt")}
    assert 2 <= len(begun) < 5
    trained(stripes, tmp_path, backbone)
    assert difference(weights(Path(tuned["path"]).parents[2]), weights(tmp_path)) == 0


@pytest.mark.slow
def test_two_processes_learn_what_one_does(
    tmp_path: Path, tuned: dict[str, Any], stripes: Path, backbone: Path
) -> None:
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d")
    here = ("--rdzv-endpoint", "127.0.0.1:0", "--rdzv-id", tmp_path.name)
    subprocess.run(command(*torchrun, *here, SCRIPT, stripes, backbone, tmp_path), env=ENVIRONMENT, check=True)
    assert [path.name for path in (tmp_path / "models/stripes").iterdir() if path.is_dir()] == ["1"]
    assert difference(weights(Path(tuned["path"]).parents[2]), weights(tmp_path)) < 1e-4  # sums in another order


def difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """The largest, over all weights."""
    assert one.keys() == two.keys()
    return max(float((one[name].double() - two[name].double()).abs().max()) for name in one)
