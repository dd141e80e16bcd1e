"""The weights of an artifact without torch: which of them are the head's, and what identifies the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.errors import ArtifactInconsistent
from numpy.typing import NDArray
from safetensors import safe_open

CLASSIFIER = "classifier"  # the key of pretrained_cfg whose value is the name of timm's last layer


def head_prefix(config: Mapping[str, Any], kind: str) -> str:
    """What the names of the head's tensors begin with."""
    if kind != "linear":
        return "head."
    name = config["pretrained_cfg"].get(CLASSIFIER)
    if not isinstance(name, str):
        raise ArtifactInconsistent(f"pretrained_cfg.classifier is {name!r}; it must name one layer.")
    return f"{name}."


def arrays(path: Path, prefix: str) -> dict[str, NDArray[Any]]:
    """The tensors whose names begin so, by the rest of their names.

    Raises SafetensorError for a damaged file, TypeError for a type that numpy lacks.
    """
    with safe_open(path, framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - no dict
        return {name.removeprefix(prefix): np.array(file.get_tensor(name)) for name in names}


def sha256_without(path: Path, prefix: str) -> str:
    """Of names, types, shapes and bytes of all tensors but those, whatever their order. Only for a file that opens."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        described = json.loads(file.read(length))
        for name in sorted(name for name in described if name != "__metadata__" and not name.startswith(prefix)):
            each = described[name]
            start, end = each["data_offsets"]
            digest.update(json.dumps([name, each["dtype"], each["shape"]]).encode())
            file.seek(8 + length + start)
            digest.update(file.read(end - start))
    return digest.hexdigest()
