"""A reference to a pretrained network -> that network without its last layer, pinned to a revision.

A built-in network, a local folder and `ORG/NAME[@REVISION]` on the Hub hold two files: config.json in timm's format,
and the weights. They are found in three ways; they are read, built and cut in one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from handful.service.artifact import errors as ours
from handful.service.artifact.checks import MAX_SIDE
from handful.service.artifact.folder import file_sha256
from handful.service.artifact.hub import HubRef, brief, large_file, parse_ref, pinned_file
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.network import RESERVED
from handful.service.compute.skeleton import without_memory
from handful.service.compute.timm_library import timm
from handful.service.terminal.progress import paused
from handful.training.builtin.networks import builtin_files, renamed
from handful.training.checks import BUILTIN, BUILTINS, CONFIG, WEIGHTS, is_local, local_files, not_a_backbone
from safetensors import SafetensorError
from timm.models import PretrainedCfg, load_state_dict
from torch import Tensor, nn

WAYS_OUT = ("give a local folder", "use --backbone builtin")
# what readers of files, and builders of networks, raise for files that they cannot use
UNREADABLE = (EOFError, LookupError, OSError, SafetensorError, UnpicklingError)
MISFITS = (*UNREADABLE, ArithmeticError, AssertionError, AttributeError, RuntimeError, TypeError, ValueError)
DESCRIPTION = {field.name for field in fields(PretrainedCfg)} - {
    *("architecture", "state_dict", "custom_load", "url", "file", "hf_hub_id", "hf_hub_filename", "source"),
    *("num_classes", "label_offset", "label_names", "label_descriptions"),
}


@dataclass(frozen=True)
class Backbone:
    """The network that embeds, and what a card needs to name it permanently.

    `ref` is the reference as given, without the revision; `revision` is the commit on the Hub; `sha256` is that of the
    weights file. `config` is the config.json of the headless network, with the complete preprocessing and with D as
    `num_features`. `network` is frozen and in evaluation mode: `(N, 3, S, S)` float32 -> `(N, D)` float32.
    """

    ref: str
    revision: str | None
    sha256: str
    config: dict[str, Any]
    network: nn.Module

    @property
    def preprocessing(self) -> Preprocessing:
        """Of the pretrained weights; `BackboneUnsupported` where the config asks for another kind of input."""
        try:
            return Preprocessing.from_pretrained_cfg(self.config["pretrained_cfg"])
        except (KeyError, ValueError) as e:
            raise ours.BackboneUnsupported(f"{self.ref} needs an input that is not supported: {e}.") from e


def load_backbone(ref: str) -> Backbone:
    """The network that `--backbone` names, or a `UsageError`, `BackboneError` or `HubError`; never another network."""
    return load_named(ref, WAYS_OUT)


def load_named(ref: str, ways_out: tuple[str, ...] = ()) -> Backbone:
    """As `load_backbone`, where a card names it; errors of the Hub suggest `ways_out`."""
    if ref in BUILTINS:
        with builtin_files(ref) as files:
            return _load(ref, None, *files, other_names=ref == BUILTIN)
    if is_local(ref):
        return _load(ref, None, *local_files(ref, Path(ref)))
    hub_ref = parse_ref(ref, ways_out)
    if hub_ref is None:
        raise not_a_backbone(ref)
    with paused():  # the Hub's library shows bars of its own
        config = pinned_file(hub_ref, CONFIG)
        weights = _hub_weights(hub_ref, config.parent.name)
    return _load(hub_ref.repo, config.parent.name, config, weights)


def _hub_weights(ref: HubRef, commit: str) -> Path:
    for name in WEIGHTS:
        with suppress(ours.HubFileMissing):
            return large_file(ref, name, commit)
    raise ours.HubFileMissing(f"{ref.text!r} on the Hub has no weights, neither {' nor '.join(WEIGHTS)}")


@contextmanager
def _unsupported(message: str) -> Iterator[None]:
    try:
        yield
    except MISFITS as e:
        raise ours.BackboneUnsupported(f"{message}: {brief(e)}") from e


def _load(
    ref: str, revision: str | None, config_file: Path, weights_file: Path, *, other_names: bool = False
) -> Backbone:
    """`other_names`: the tensors are timm's in timm's order, under names of their own."""
    with _unsupported(f"{CONFIG} of {ref!r} does not describe a network of timm"):
        config = _headless_config(json.loads(config_file.read_bytes()))
    with _unsupported(f"{weights_file.name} of {ref!r} must hold tensors and nothing else"):
        weights = _read_weights(weights_file)
    with _unsupported(f"the weights of {ref!r} do not make a headless {config['architecture']}"):
        if other_names:
            weights = renamed(weights, _tensors_of(config))
        network = _headless_network(config, weights)
        config["num_features"] = _embedding_width(network, config["pretrained_cfg"]["input_size"])
    return Backbone(ref, revision, file_sha256(weights_file), config, network)


def _headless_config(stored: dict[str, Any]) -> dict[str, Any]:
    """The config.json of the same network without its last layer.

    Old files describe the input at the top level, and not completely; timm's defaults, which timm itself would use,
    fill the gaps.
    """
    architecture = stored.get("architecture")
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise ValueError(f"its architecture is {architecture!r}, allowed are those in timm.list_models()")
    usual = timm.get_pretrained_cfg(architecture.partition(".")[0]) or PretrainedCfg()
    layers = {"first_conv": usual.first_conv, "classifier": usual.classifier}
    described = _description(stored.get("pretrained_cfg", stored))
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "global_pool": stored.get("global_pool"),
        "model_args": {k: v for k, v in stored.get("model_args", {}).items() if k not in RESERVED},
        "pretrained_cfg": _description(vars(PretrainedCfg(**layers | described))) | {"num_classes": 0},
    }
    return dict(json.loads(json.dumps({k: v for k, v in config.items() if v not in (None, {})})))


def _description(pretrained_cfg: dict[str, Any]) -> dict[str, Any]:
    """The fields that describe the network and its input, without the origin of the weights and their labels."""
    return {k: v for k, v in pretrained_cfg.items() if k in DESCRIPTION and v is not None}


def _read_weights(path: Path) -> dict[str, Tensor]:
    """As float32, also where the file is float16. Of a pickle only tensors are read."""
    weights = load_state_dict(str(path), weights_only=True)
    return {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}


def _tensors_of(config: dict[str, Any]) -> dict[str, Tensor]:
    """Names and shapes of the whole network, classifier included, without memory."""
    with without_memory():
        return dict(timm.create_model(config["architecture"], **config.get("model_args", {})).state_dict())


def _headless_network(config: dict[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    """Built and loaded by timm, which knows how old keys are renamed.

    The classifier's weights are taken out here: if timm knew of a classifier, it would load without complaint although
    other keys are missing.
    """
    description = config["pretrained_cfg"]
    classifier = description.get("classifier", ())
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    kept = {key: value for key, value in weights.items() if key.rpartition(".")[0] not in names}
    source = description | {"classifier": None, "state_dict": kept}
    arguments = {"pretrained": True, "pretrained_cfg": source, "num_classes": 0}
    network: nn.Module = timm.create_model(config["architecture"], **config.get("model_args", {}), **arguments)
    vars(network).update(
        pretrained_cfg=dict(description), default_cfg=dict(description)
    )  # without the weights, which timm kept there
    return network.eval().requires_grad_(requires_grad=False)


def _embedding_width(network: nn.Module, input_size: list[int]) -> int:
    if input_size[0] != 3:
        raise ValueError(f"its input has {input_size[0]} channels, allowed: 3")
    if max(input_size[1:]) > MAX_SIDE:
        raise ValueError(f"its input has {max(input_size[1:])} pixels a side, allowed: up to {MAX_SIDE}")
    with torch.no_grad():
        embedding = network(torch.zeros(1, *input_size))  # (1, D)
    if not isinstance(embedding, Tensor) or embedding.ndim != 2:
        raise ValueError("it gives no single vector for an image")
    return embedding.shape[1]
