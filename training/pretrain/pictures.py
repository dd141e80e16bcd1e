"""Pictures to pretrain on: a labelled folder, or one packed `.npz` of encoded pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures in memory; `labels` is -1 where a picture carries none."""

    data: np.ndarray  # uint8, all files one after the other
    offsets: np.ndarray  # (N + 1,) int64
    labels: np.ndarray  # (N,) int64

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Image.Image:
        encoded = self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()
        return Image.open(io.BytesIO(encoded)).convert("RGB")


def read_pictures(path: Path, prefix: str = "") -> Pictures:
    """The pack's arrays `bytes`, `offsets` and, where it has them, `labels`."""
    with np.load(path) as pack:
        data, offsets = pack[f"{prefix}bytes"], pack[f"{prefix}offsets"].astype(np.int64)
        count = len(offsets) - 1
        name = f"{prefix}labels"
        labels = pack[name].astype(np.int64) if name in pack else np.full(count, -1)
    return Pictures(data, offsets, labels)
