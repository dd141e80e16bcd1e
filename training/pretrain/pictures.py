"""Pictures to pretrain on: a labelled folder, or one packed `.npz` of encoded pictures."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import DataError, ImageError
from handful.service.artifact.images import read_bytes, read_image
from handful.training.photos.sources import read_folder
from PIL import Image

log = logging.getLogger(__name__)

VALIDATION = "val_"  # prefix of the arrays in a pack that are only measured on


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures in memory; `labels` is -1 where a picture carries none."""

    data: np.ndarray  # uint8, all files concatenated
    offsets: np.ndarray  # (N + 1,) int64
    labels: np.ndarray  # (N,) int64
    sources: np.ndarray  # (N,) str, the origin of each: from a pack's source_names, or a folder's labels

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Image.Image:
        return read_image(self.encoded(index).tobytes())

    def encoded(self, index: int) -> np.ndarray:
        return self.data[self.offsets[index] : self.offsets[index + 1]]

    def only(self, numbers: np.ndarray) -> Pictures:
        """The pictures of these numbers, in this order."""
        return pictures_of_bytes([self.encoded(i) for i in numbers], self.labels[numbers], self.sources[numbers])


def pictures_of_bytes(encoded: list[np.ndarray], labels: np.ndarray, sources: np.ndarray) -> Pictures:
    offsets = np.concatenate([[0], np.cumsum([len(data) for data in encoded])])
    return Pictures(np.concatenate(encoded), offsets, labels, sources)


def read_pictures(path: Path, prefix: str = "") -> Pictures | None:
    """The images of a folder, or of a pack: arrays `bytes`, `offsets` and optionally `labels` and `sources`.

    None where a pack has no arrays with that prefix; a folder has none with any prefix.
    """
    if path.is_dir():
        return None if prefix else _from_folder(path)
    with np.load(path) as pack:
        if f"{prefix}bytes" not in pack:
            return None
        data, offsets = pack[f"{prefix}bytes"], pack[f"{prefix}offsets"].astype(np.int64)
        name = f"{prefix}labels"
        labels = pack[name].astype(np.int64) if name in pack else np.full(len(offsets) - 1, -1)
        name = f"{prefix}sources"
        sources = pack["source_names"][pack[name]] if name in pack else np.full(len(labels), "")
    return Pictures(data, offsets, labels, sources)


def _from_folder(folder: Path) -> Pictures:
    """Files that cannot be read are left out, each with a warning."""
    encoded, labels = [], []
    dataset = read_folder(folder)
    for example in dataset.examples:
        try:
            data = read_bytes(example.path)
            read_image(data)
        except ImageError as e:
            log.warning("%s is left out: %s", example.path, e)
            continue
        encoded.append(np.frombuffer(data, np.uint8))
        labels.append(example.label)
    if not encoded:
        raise DataError(f"{folder} holds no readable image; a folder of images per label is expected.")
    numbers = np.array(labels, dtype=np.int64)
    return pictures_of_bytes(encoded, numbers, np.array(dataset.labels)[numbers])
