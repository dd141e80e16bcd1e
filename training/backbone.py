"""A reference to a pretrained network -> that network without its last layer, pinned.

`builtin`, a local folder and `ORG/NAME[@REVISION]` on the Hub hold the same two files in timm's format:
config.json and the weights. Only finding them differs; reading, building and cutting are one path.

Talking to the Hub is huggingface_hub's part, environment included: nothing here reads or sets `HF_...`. Added
are three things: the bytes are compared with the sha256 the Hub announced (huggingface_hub compares sizes alone),
a file that differs leaves the cache, and every failure becomes one sentence of our error tree (`_translation`).
Within a run huggingface_hub takes up a cut download where it broke; one it gave up starts afresh in the next.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # that of httpx or httpx2, whichever it uses
from safetensors import SafetensorError
from timm.models import PretrainedCfg, load_state_dict
from torch import Tensor, nn

from service.artifact import errors as ours
from service.artifact.folder import file_sha256

log = logging.getLogger(__name__)

DEFAULT_BACKBONE = "timm/resnet34.tv_in1k"
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that is there
HUB_REPO = r"(?![^@]*(--|\.\.|\.git(@|$)))(?P<repo>\b[\w.-]+\b/\b[\w.-]{1,96}\b)"
HUB_REF = re.compile(HUB_REPO + r"(@(?P<revision>\b(?!.*\.\.)[\w./-]+))?", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# httpx and, by inheritance, the Hub's answers; the disk and hf_xet; a proxy setting that httpx cannot use
HUB_FAILURES = (HTTPError, OSError, RuntimeError, ValueError, ImportError)
# what the readers of files and the builders of networks raise at what is not for them
UNREADABLE = (EOFError, LookupError, OSError, SafetensorError, UnpicklingError)
MISFITS = (*UNREADABLE, ArithmeticError, AssertionError, AttributeError, RuntimeError, TypeError, ValueError)
DESCRIPTION = {field.name for field in fields(PretrainedCfg)} - {
    *("architecture", "state_dict", "custom_load", "url", "file", "hf_hub_id", "hf_hub_filename", "source"),
    *("num_classes", "label_offset", "label_names", "label_descriptions"),
}
RESERVED = {"num_classes", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}


@dataclass(frozen=True)
class Backbone:
    """What embeds, and what a card needs to name it for good.

    `ref` is as it was written, without the revision; `revision` is the commit, on the Hub; `sha256` is that of the
    weights file. `config` is the config.json of the headless network, all of the preprocessing spelled out and D as
    `num_features`. `network` is frozen and in evaluation mode: `(N, 3, S, S)` float32 -> `(N, D)` float32.
    """

    ref: str
    revision: str | None
    sha256: str
    config: dict[str, Any]
    network: nn.Module


def load_backbone(ref: str) -> Backbone:
    """The network that was asked for, or an error; never another one."""
    if ref == "builtin":
        with resources.as_file(resources.files("training").joinpath("builtin")) as folder:
            return _load(ref, None, *_local_files(ref, folder))
    if ref.startswith((".", "/", "~")) or "\\" in ref or ref[1:2] == ":" or (ref and Path(ref).is_dir()):
        return _load(ref, None, *_local_files(ref, Path(ref)))
    repo, revision = _parse_hub_ref(ref)
    config = _hub_config(ref, repo, revision)
    return _load(repo, config.parent.name, config, _hub_weights(ref, repo, config.parent.name))


def _parse_hub_ref(ref: str) -> tuple[str, str]:
    match = HUB_REF.fullmatch(ref)
    if match is None:
        raise ours.UsageError(f"--backbone is {ref!r}, allowed: ORG/NAME[@REVISION], a local folder, or builtin")
    return match["repo"], match["revision"] or constants.DEFAULT_REVISION


def _local_files(ref: str, folder: Path) -> tuple[Path, Path]:
    with suppress(RuntimeError):  # ~ of nobody is a folder that is not there
        folder = folder.expanduser()
    if not folder.is_dir():
        raise ours.BackboneNotFound(f"--backbone {ref!r} is no folder that exists ({folder})")
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not (folder / CONFIG).is_file():
        raise ours.BackboneNotFound(f"the folder {folder} lacks {CONFIG} or the weights, {' or '.join(WEIGHTS)}")
    return folder / CONFIG, weights


def _hub_config(ref: str, repo: str, revision: str) -> Path:
    """config.json in the cache, inside the folder of the commit that the revision names now.

    A cached commit needs no network. If the Hub is silent, the commit it named last is used, with a warning.
    """
    found = try_to_load_from_cache(repo, CONFIG, revision=revision)
    cached = Path(found) if isinstance(found, str) else None
    if cached and cached.parent.name == revision:
        return cached
    try:
        with _translated(ref):
            # asked first because it fails at once, where hf_hub_download would go on trying for half a minute
            get_hf_file_metadata(hf_hub_url(repo, CONFIG, revision=revision))
            return Path(hf_hub_download(repo, CONFIG, revision=revision))
    except (ours.HubUnreachable, ours.BackboneOffline) as e:
        if cached is None:
            raise
        if isinstance(e, ours.HubUnreachable):
            log.warning("%s; now the cached commit %s is used", e, cached.parent.name)
        return cached


def _hub_weights(ref: str, repo: str, commit: str) -> Path:
    for name in WEIGHTS:
        found = try_to_load_from_cache(repo, name, revision=commit)
        if found is not None and not isinstance(found, str):
            continue  # huggingface_hub's mark of a file that the commit does not have
        try:
            with _translated(ref):
                weights = Path(hf_hub_download(repo, name, revision=commit))
        except ours.BackboneNotFound:
            continue
        _verify(ref, repo, weights)
        return weights
    raise ours.BackboneNotFound(f"{ref!r} on the Hub has no weights, neither {' nor '.join(WEIGHTS)}")


def _verify(ref: str, repo: str, weights: Path) -> None:
    announced, got = _announced_sha256(repo, weights), file_sha256(weights)
    if announced in {None, got}:
        return
    if weights.is_symlink():
        (weights.parent / weights.readlink()).unlink(missing_ok=True)
    weights.unlink()
    raise ours.BackboneCorrupt(
        f"{weights.name} of {ref!r} has the sha256 {got}, the Hub announced {announced}: "
        "it was removed from the cache, and the next run downloads it afresh"
    )


def _announced_sha256(repo: str, weights: Path) -> str | None:
    """The name of the blob in the cache; where links cannot be made (Windows), what the Hub says, if it can be heard.

    Only one link is followed: behind a second one, blobs that repositories share have other names.
    """
    etag = weights.readlink().name if weights.is_symlink() else None
    if etag is None:
        with suppress(*HUB_FAILURES):
            etag = get_hf_file_metadata(hf_hub_url(repo, weights.name, revision=weights.parent.name)).etag
    return etag if etag and SHA256.fullmatch(etag) else None


@contextmanager
def _translated(ref: str) -> Iterator[None]:
    try:
        yield
    except HUB_FAILURES as e:
        raise _translation(e, ref) from e


def _translation(error: BaseException, ref: str) -> ours.BackboneError:
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        return _translation(error.__cause__, ref)  # not in the cache, for the reason underneath
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ours.BackboneOffline(
            f"HF_HUB_OFFLINE is set and {ref!r} is not in the cache {constants.HF_HUB_CACHE}: "
            "unset it once, give a local folder, or use --backbone builtin"
        )
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in {401, 403, 404}:
        return _refusal(error, ref)
    if getattr(error, "errno", None) in DISK_FULL or os.strerror(errno.ENOSPC) in str(error):  # hf_xet: only text
        return ours.NoSpaceLeft(f"no space for {ref!r} in {constants.HF_HUB_CACHE}: free some, or move it by HF_HOME")
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError | TimeoutError):
        return ours.BackboneError(f"{ref!r} cannot be cached ({error}): set HF_HOME to a folder you can write to")
    if type(error) is OSError:  # huggingface_hub's comparison of sizes
        return ours.BackboneCorrupt(f"{ref!r} arrived with a wrong size and was not kept: {_brief(error)}")
    status = f"status {error.response.status_code}" if isinstance(error, errors.HfHubHTTPError) else ""
    return ours.HubUnreachable(
        f"the Hub at {constants.ENDPOINT} did not deliver {ref!r} ({status or _brief(error) or type(error).__name__}): "
        "set HF_ENDPOINT to a mirror, give a local folder, or use --backbone builtin"
    )


def _refusal(error: errors.HfHubHTTPError, ref: str) -> ours.BackboneError:
    if isinstance(error, errors.RevisionNotFoundError):
        return ours.BackboneNotFound(f"the Hub has the repository of {ref!r}, but not this revision")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return ours.BackboneNotFound(f"the Hub has the repository of {ref!r}, but no {CONFIG} in it")
    hidden = isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError)
    if hidden or error.response.status_code == 404:
        return ours.BackboneNotFound(f"the Hub has no repository for {ref!r}, or one that HF_TOKEN may not read")
    page = f"{constants.ENDPOINT}/{ref.partition('@')[0]}"
    return ours.BackboneGated(f"the Hub refuses {ref!r}: accept the terms on {page}, and set HF_TOKEN to your token")


def _brief(error: BaseException) -> str:
    """Its first words, line by line: torch lists every key that does not fit."""
    lines = [textwrap.shorten(line, 200, placeholder=" ...") for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4])


@contextmanager
def _unsupported(otherwise: str) -> Iterator[None]:
    try:
        yield
    except MISFITS as e:
        raise ours.BackboneUnsupported(f"{otherwise}: {_brief(e)}") from e


def _load(ref: str, revision: str | None, config_file: Path, weights_file: Path) -> Backbone:
    with _unsupported(f"{CONFIG} of {ref!r} does not describe a network of timm"):
        config = _headless_config(json.loads(config_file.read_bytes()))
    with _unsupported(f"{weights_file.name} of {ref!r} must hold tensors and nothing else"):
        weights = _read_weights(weights_file)
    with _unsupported(f"the weights of {ref!r} do not make a headless {config['architecture']}"):
        network = _headless_network(config, weights)
        config["num_features"] = _embedding_width(network, config["pretrained_cfg"]["input_size"])
    return Backbone(ref, revision, file_sha256(weights_file), config, network)


def _headless_config(stored: dict[str, Any]) -> dict[str, Any]:
    """The config.json of the same network without its last layer.

    Old files describe the input at the top level, and not all of it; what is missing is timm's default, as it
    would be for timm.
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
    """What it says of the network and its input, without where to fetch weights and what their labels were."""
    return {k: v for k, v in pretrained_cfg.items() if k in DESCRIPTION and v is not None}


def _read_weights(path: Path) -> dict[str, Tensor]:
    """All of them float32, though many files are stored as float16; out of a pickle come tensors only."""
    weights = load_state_dict(str(path), weights_only=True)
    return {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}


def _headless_network(config: dict[str, Any], weights: dict[str, Tensor]) -> nn.Module:
    """Built by timm and loaded by it, as renaming old keys is its knowledge.

    Told of a classifier, timm would forgive every other missing key with the classifier's, so its weights are
    taken out here.
    """
    description = config["pretrained_cfg"]
    classifier = description.get("classifier", ())
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    kept = {key: value for key, value in weights.items() if key.rpartition(".")[0] not in names}
    source = description | {"classifier": None, "state_dict": kept}
    arguments = {"pretrained": True, "pretrained_cfg": source, "num_classes": 0}
    network: nn.Module = timm.create_model(config["architecture"], **config.get("model_args", {}), **arguments)
    vars(network).update(pretrained_cfg=dict(description), default_cfg=dict(description))  # timm kept the weights there
    return network.eval().requires_grad_(requires_grad=False)


def _embedding_width(network: nn.Module, input_size: list[int]) -> int:
    if input_size[0] != 3:
        raise ValueError(f"its input has {input_size[0]} channels, allowed: 3")
    with torch.no_grad():
        embedding = network(torch.zeros(1, *input_size))  # (1, D)
    if not isinstance(embedding, Tensor) or embedding.ndim != 2:
        raise ValueError("it gives no single vector for an image")
    return embedding.shape[1]
