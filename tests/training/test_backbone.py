"""What `load_backbone` makes of references and of local folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from handful.service.artifact.errors import BackboneNotFound, BackboneUnsupported, UsageError
from handful.service.artifact.hub import parse_ref
from handful.training.backbone import load_backbone
from handful.training.settings import DEFAULT_BACKBONE
from safetensors.torch import load_file, save_file
from tiny_networks import TINY, copy_of, save_network, sha256, with_pickle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("networks") / "tiny", TINY)


def test_local_folder_gives_the_embeddings_of_timm(tiny: Path) -> None:
    """Frozen and in evaluation mode, it answers as timm's own headless network does."""
    backbone = load_backbone(str(tiny))
    theirs = timm.create_model(f"local-dir:{tiny}", pretrained=True, num_classes=0).eval()
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(backbone.network(images), theirs(images))
    assert not backbone.network.training
    assert not any(p.requires_grad for p in backbone.network.parameters())
    assert (backbone.ref, backbone.revision) == (str(tiny), None)
    assert backbone.sha256 == sha256(tiny / "model.safetensors")


def test_config_describes_the_headless_network(tiny: Path) -> None:
    """From it timm builds the network again; the last layer and its labels are gone, the licence is not."""
    config = load_backbone(str(tiny)).config
    arguments = {name: list(value) for name, value in TINY.items()}
    assert (config["architecture"], config["num_classes"], config["num_features"]) == ("resnet18", 0, 16)
    assert config["global_pool"] == "avg"
    assert config["model_args"] == arguments | {"in_chans": 3, "global_pool": "avg"}
    assert config["pretrained_cfg"]["license"] == "mit"
    assert config["pretrained_cfg"]["classifier"] == "fc"
    assert json.loads(json.dumps(config)) == config


@pytest.mark.parametrize("nested", [True, False])
def test_config_that_says_little_gets_the_defaults_of_timm(tiny: Path, tmp_path: Path, *, nested: bool) -> None:
    """Old files have the input at the top level or leave it out; all of it is spelled out then."""
    description = {"mean": [0.5, 0.5, 0.5]}
    old = {"pretrained_cfg": description} if nested else description | {"pretrained_cfg": None}
    config = load_backbone(str(copy_of(tiny, tmp_path / "old", **old))).config
    given = config["pretrained_cfg"]
    assert given["mean"] == [0.5, 0.5, 0.5]
    expected = timm.data.resolve_data_config(pretrained_cfg=description)  # type: ignore[attr-defined, no-untyped-call]  # timm
    assert {key: given[key] for key in expected} == json.loads(json.dumps(expected))
    assert (given["classifier"], given["first_conv"]) == ("fc", "conv1")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_stored_in_half_precision_become_float32(tiny: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    """Everything that follows computes in float32."""
    half = copy_of(tiny, tmp_path / "half")
    weights = load_file(tiny / "model.safetensors")
    stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()}
    save_file(stored, half / "model.safetensors")
    network = load_backbone(str(half)).network
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network.get_parameter("conv1.weight"), stored["conv1.weight"].float())


def test_several_classifiers_are_dropped(tiny: Path, tmp_path: Path) -> None:
    """A list of names, as distilled networks have it, is taken like one name."""
    config = json.loads((tiny / "config.json").read_text())
    described = config["pretrained_cfg"] | {"classifier": ["fc", "fc_dist"]}
    double = copy_of(tiny, tmp_path / "double", pretrained_cfg=described)
    weights = load_file(tiny / "model.safetensors")
    twins = {f"fc_dist.{name}": weights[f"fc.{name}"].clone() for name in ("weight", "bias")}
    save_file(weights | twins, double / "model.safetensors")
    assert load_backbone(str(double)).config["num_features"] == 16


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_args": TINY | {"layers": (1, 1, 1, 2)}}, "layer4.1.conv1.weight"),
        ({"model_args": TINY | {"layers": (1, 1, 1, 0)}}, "resnet18"),
        ({"model_args": TINY | {"channels": (8, 8, 8, 8)}}, "size mismatch"),
        ({"model_args": TINY | {"wings": 2}}, "wings"),
        ({"model_args": TINY | {"global_pool": ""}}, "no single vector"),
        ({"pretrained_cfg": {"input_size": [1, 32, 32]}}, "channel"),
        ({"pretrained_cfg": {"input_size": 32}}, "resnet18"),
        ({"pretrained_cfg": "none"}, "config.json"),
        ({"architecture": "resnet9000"}, "resnet9000"),
        ({"architecture": "hf-hub:acme/tiny"}, "hf-hub:acme/tiny"),
        ({"architecture": None}, "None"),
    ],
)
def test_network_that_cannot_be_built_is_unsupported(
    tiny: Path, tmp_path: Path, config: dict[str, object], says: str
) -> None:
    """Weights must fit to the last key, and the sentence names what does not."""
    with pytest.raises(BackboneUnsupported) as caught:
        load_backbone(str(copy_of(tiny, tmp_path / "odd", **config)))
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", b"<html>"), ("config.json", b"[]"), ("config.json", b"\xff\xfe"), ("model.safetensors", b"")],
)
def test_file_in_another_format_is_unsupported(tiny: Path, tmp_path: Path, file: str, content: bytes) -> None:
    """A web page saved under the file's name, an empty file: named, not a traceback."""
    odd = copy_of(tiny, tmp_path / "odd")
    (odd / file).write_bytes(content)
    with pytest.raises(BackboneUnsupported, match=file):
        load_backbone(str(odd))


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.zeros(2)])
def test_pickle_of_something_else_is_unsupported(tiny: Path, tmp_path: Path, content: object) -> None:
    """Harmless, but no weights."""
    with pytest.raises(BackboneUnsupported):
        load_backbone(str(with_pickle(tiny, tmp_path / "odd", content)))


@pytest.mark.parametrize("ref", ["./nowhere", "/nowhere/at/all", "~nobody/at/home", "C:\\networks", "networks\\mine"])
def test_missing_folder_is_not_found(ref: str) -> None:
    """A reference that looks like a path is never looked up on the Hub."""
    with pytest.raises(BackboneNotFound, match="not an existing folder"):
        load_backbone(ref)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_folder_without_one_of_its_files_is_not_found(tiny: Path, tmp_path: Path, file: str) -> None:
    """Both files are named."""
    partial = copy_of(tiny, tmp_path / "partial")
    (partial / file).unlink()
    with pytest.raises(BackboneNotFound, match=file):
        load_backbone(str(partial))


def test_folder_with_a_name_of_the_hubs_form_is_the_folder(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there goes before what would have to be downloaded."""
    (tmp_path / "acme").mkdir()
    copy_of(tiny, tmp_path / "acme" / "tiny")
    monkeypatch.chdir(tmp_path)
    assert load_backbone("acme/tiny").revision is None


@pytest.mark.parametrize(
    "ref", ["", "resnet34", "a/b/c", "acme/tiny@", "acme/tiny@../main", "ac me/tiny", "acme/-tiny", "a--b/c", "a/b.git"]
)
def test_reference_of_no_known_form_is_wrong_use(ref: str) -> None:
    """The sentence says what was got and what is allowed."""
    with pytest.raises(UsageError) as caught:
        load_backbone(ref)
    assert repr(ref) in str(caught.value)
    assert "ORG/NAME[@REVISION]" in str(caught.value)


def test_default_reference_is_of_the_hubs_form() -> None:
    """Without a flag the network comes from the Hub, so the default must at least be a name there."""
    assert parse_ref(DEFAULT_BACKBONE)
