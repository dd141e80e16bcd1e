"""Photos without embeddings, for rungs that use no pretrained network: none is loaded, and none is asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import ImageError
from handful.service.artifact.images import content_sha256, read_bytes, read_image
from handful.service.compute.pipeline import read_batches
from handful.service.terminal.progress import LOOKING, progress_bar
from handful.training.embeddings import Embedded
from handful.training.ladder.squares import BATCH
from handful.training.photos.inspection import MIN_IMAGES, Inspected, inspect
from handful.training.photos.sources import Dataset

NO_EMBEDDING = np.empty(0, dtype=np.float32)
MIN_SIDE = 256  # pixels; a photo is decoded no smaller


def inspect_bare(dataset: Dataset, min_images: int = MIN_IMAGES) -> Inspected:
    """The folder's usable photos. Near-duplicates are not grouped: only embeddings show them."""
    paths = [example.path for example in dataset.examples]

    def read(path: Path) -> Embedded:
        data = read_bytes(path)
        image = read_image(data, min_side=MIN_SIDE)
        picture = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        return Embedded(path, content_sha256(data), picture, NO_EMBEDDING)

    results: list[Embedded | ImageError] = []
    with progress_bar(LOOKING, len(paths)) as progress:
        for batch in read_batches(paths, read, None, size=BATCH):
            results += batch.read
            progress(len(batch.sources))
    return inspect(dataset, results, min_images)
