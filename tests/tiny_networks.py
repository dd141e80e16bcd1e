"""Small random networks as folders in timm's Hub format, and functions that change or damage them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf

TINY: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}
WIDE: dict[str, Any] = {
    "layers": (1, 1, 1, 1),
    "channels": (8, 8, 16, 640),
}  # more than 10 MiB, so that a download arrives in several pieces


def save_network(folder: Path, arguments: dict[str, Any]) -> Path:
    """Writes a random network with seven labels, in the form in which timm pushes it to the Hub."""
    description = {"input_size": (3, 32, 32), "first_conv": "conv1", "classifier": "fc", "license": "mit"}
    torch.manual_seed(0)  # a fixed seed, as its embeddings decide which photos are near-duplicates
    network = timm.create_model("resnet18", num_classes=7, pretrained_cfg=description, **arguments)
    save_for_hf(network, str(folder), safe_serialization=True)
    return folder


def copy_of(folder: Path, to: Path, **config: object) -> Path:
    """A copy with other entries in its config.json; entries that are None are removed."""
    to.mkdir()
    changed = json.loads((folder / "config.json").read_text()) | config
    (to / "config.json").write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))
    (to / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    return to


def with_pickle(folder: Path, to: Path, content: object) -> Path:
    """A copy whose weights are replaced by a pickle."""
    copy_of(folder, to)
    (to / "model.safetensors").unlink()
    torch.save(content, to / "pytorch_model.bin")
    return to


class Mischief:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
