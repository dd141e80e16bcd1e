"""A model from elsewhere is checked whole before it is trusted, whether it was pulled or copied into the store."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import handful
from handful.service.artifact.errors import ArtifactError
from handful.service.artifact.folder import CARD, CONFIG, EMBEDDINGS, WEIGHTS, file_sha256
from handful.service.artifact.store import Store
from handful.service.classifier import Classifier
from safetensors.torch import load_file, save_file

Change = Callable[[dict[str, Any]], object]
MOST_KILOBYTES = 300_000  # that a refusal may take; the networks asked for here would take 4 GB and more


def changed(artifact: Path, folder: Path, *, card: Change | None = None, config: Change | None = None) -> Path:
    """A copy of the artifact with a changed description."""
    shutil.copytree(artifact, folder)
    for file, change in ((CARD, card), (CONFIG, config)):
        if change:
            value = json.loads((folder / file).read_text())
            change(value)
            (folder / file).write_text(json.dumps(value))
    return folder


def renamed(label: str) -> tuple[Change, Change]:
    """The model with another name for its first label, everywhere."""

    def card(value: dict[str, Any]) -> None:
        former, value["labels"][0] = value["labels"][0], label
        value["data"]["per_label"][label] = value["data"]["per_label"].pop(former)

    def config(value: dict[str, Any]) -> None:
        value["label_names"][0] = label

    return card, config


def refusal(folder: Path) -> str:
    """The one sentence, which took little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtifactError) as e:
        Classifier.load(folder).check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    sentence = str(e.value)
    assert sentence.isprintable()
    assert len(sentence) < 600
    return sentence


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("\x1b[2Jred", "contains control characters"),
        ("\x9b2Jred", "contains control characters"),
        ("red\n", "contains control characters"),
        ("\u202egnp.der", "contains control characters"),
        ("\u2028", "contains control characters"),
        ("../../.ssh", "contains a slash or backslash"),
        ("..\\windows", "contains a slash or backslash"),
        (".ssh", "begins with a dot"),
        ("", "has 0 characters"),
        ("é" * 128, "has 128 characters"),
        ("red", "occurs twice"),
        ("=HYPERLINK(A1)", "would be a formula"),
        ("+cmd|'calc'!A0", "would be a formula"),
    ],
)
def test_a_label_that_could_do_harm_is_refused(artifact: Path, tmp_path: Path, label: str, words: str) -> None:
    card, config = renamed(label)
    assert words in refusal(changed(artifact, tmp_path / "model", card=card, config=config))


@pytest.mark.parametrize("label", ["-5", "+ve", "Grün & Blau", "a.b", "=", "日本語", "a (b)", "x|y"])
def test_a_label_that_is_only_unusual_is_kept(artifact: Path, tmp_path: Path, label: str) -> None:
    card, config = renamed(label)
    folder = changed(artifact, tmp_path / "model", card=card, config=config)
    assert Classifier.load(folder).labels[0] == label


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.update(name="\x1b]0;title\x07"),
        lambda card: card.update({"\x1b[2J": 1}),
        lambda card: card["libraries"].update({"\x9b2J": "1"}),
        lambda card: card["head"]["settings"].update(c="\x1b[8m"),
        lambda card: card.update(version="1/../../2"),
        lambda card: card.update(temperature=1e999),
        lambda card: card["data"].update(per_label={}),
        lambda card: card["data"].update(images=7),
        lambda card: card["cross_validation"].update(confusion=[[1]]),
        lambda card: card["unknown"].update(method="trust me"),
    ],
)
def test_a_card_that_lies_is_refused(artifact: Path, tmp_path: Path, change: Change) -> None:
    assert refusal(changed(artifact, tmp_path / "model", card=change))


def of_input(**entries: object) -> Change:
    return lambda config: config["pretrained_cfg"].update(entries)


def of_network(**entries: object) -> Change:
    return lambda config: config["model_args"].update(entries)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_input(crop_pct=1e-9), "crop_pct is 1e-09; 0.25 to 1 is allowed"),
        (of_input(crop_pct="1"), "crop_pct"),
        (of_input(input_size=[3, 100_000, 100_000]), "S from 1 to 1024"),
        (of_input(input_size=[3, 32, 64]), "input_size"),
        (of_input(input_size=[3, True, True]), "input_size"),
        (of_input(input_size="32"), "input_size"),
        (of_input(std=[0, 1, 1]), "std"),
        (of_input(mean=[1e999, 0, 0]), "mean"),
        (of_input(interpolation="\x1b[2J"), "interpolation"),
        (of_input(crop_mode="border"), "crop_mode"),
        (of_input(classifier=["fc"]), "classifier"),
        (lambda config: config.update(pretrained_cfg=[]), "pretrained_cfg is []; an object is expected"),
        (lambda config: config.update(architecture="hf-hub:acme/other"), "architecture"),
        (lambda config: config.update(architecture="vit_giant_patch14_224", model_args={}), "do not fit"),
        (lambda config: config.update(model_args=7), "model_args"),
        (of_network(channels=[8192, 8192, 8192, 8192]), "do not fit"),
        (of_network(channels=[10**9] * 4), "at most 65536"),
        (of_network(layers=[20_000] * 4), "modules"),
        (of_network(layers=list(range(5000))), "more than 1000 values"),
        (of_network(checkpoint_path="/etc/passwd", block=5), "makes no classifier"),
    ],
)
def test_a_description_that_asks_for_too_much_is_refused_before_memory_is_taken(
    artifact: Path, tmp_path: Path, change: Change, words: str
) -> None:
    assert words in refusal(changed(artifact, tmp_path / "model", config=change))


@pytest.mark.parametrize(
    ("file", "name", "tensor"),
    [
        (EMBEDDINGS, "unknown.directions", torch.zeros(3, 16)),
        (EMBEDDINGS, "unknown.directions", torch.zeros(2, 5)),
        (EMBEDDINGS, "labels", torch.full((24,), 9)),
        (EMBEDDINGS, "labels", torch.full((24,), -1)),
        (EMBEDDINGS, "embeddings", torch.zeros(24, 3)),
        (WEIGHTS, "fc.bias", torch.zeros(3)),
        (WEIGHTS, "fc.weight", torch.zeros(2, 5)),
        (WEIGHTS, "fc.weight", torch.full((2, 16), float("nan"))),
        (WEIGHTS, "extra", torch.zeros(1)),
        (WEIGHTS, "conv1.weight", torch.zeros(1)),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    artifact: Path, tmp_path: Path, file: str, name: str, tensor: torch.Tensor
) -> None:
    folder = changed(artifact, tmp_path / "model")
    tensors = load_file(folder / file)
    save_file({**tensors, name: tensor.to(tensors.get(name, tensor).dtype)}, folder / file)
    card = json.loads((folder / CARD).read_text())
    card["files"][file] = file_sha256(folder / file)
    (folder / CARD).write_text(json.dumps(card))
    assert refusal(folder)


def test_text_that_is_nested_deeply_is_refused(artifact: Path, tmp_path: Path) -> None:
    folder = changed(artifact, tmp_path / "model")
    (folder / CARD).write_text('{"format_version": 1, "labels": ' + "[" * 100_000)
    assert "JSON" in refusal(folder)


def test_a_copied_model_is_one_clean_sentence_on_every_command(artifact: Path, tmp_path: Path) -> None:
    """And a folder whose name is none of ours is not shown at all."""
    home = tmp_path / "home"
    card, config = renamed("\x1b[2Jred")
    changed(artifact, home / "models/evil/1", card=card, config=config)
    shutil.copytree(artifact, home / "models/\x1b[31mred/1")
    assert Store(home).names() == ["evil"]
    photo = tmp_path / "photos"
    photo.mkdir()
    for arguments in (
        ("models", "list"),
        ("models", "list", "--json"),
        ("models", "show", "evil"),
        ("models", "promote", "evil:1"),
        ("classify", photo, "--out", tmp_path / "out.csv"),
    ):
        done = handful(home, *arguments)
        assert done.returncode in {1, 2}
        assert "\x1b" not in done.stdout + done.stderr
        assert "control characters" in done.stdout + done.stderr
    assert not (tmp_path / "out.csv").exists()


def test_a_folder_of_photos_with_such_a_name_is_refused_before_training(tmp_path: Path) -> None:
    for label in ("red", "\x1b[2Jblue"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    done = handful(tmp_path / "home", "check", tmp_path / "photos", "--backbone", "builtin")
    assert done.returncode == 2
    assert "contains control characters; give it another name" in done.stderr
    assert "\x1b" not in done.stderr
