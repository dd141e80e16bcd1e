"""Photos -> square uint8 pixels at the side that a rung needs, read once for all folds."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import DataError, ImageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.pipeline import read_batches
from handful.service.terminal.progress import progress_bar
from numpy.typing import NDArray
from torch import Tensor, from_numpy

BATCH = 64


class Squares:
    """The middle square of each photo, as the backbone sees it; each side is read when it is first needed."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._of_side: dict[int, NDArray[np.uint8]] = {}

    def at(self, side_pixels: int) -> NDArray[np.uint8]:
        """(N, S, S, 3); `DataError` where a photo can no longer be read.

        The pixels are in a temporary file, not in memory: 60,000 photos at 224 pixels are 9 GB.
        """
        if side_pixels not in self._of_side:
            self._of_side[side_pixels] = self._read(side_pixels)
        return self._of_side[side_pixels]

    def _read(self, side: int) -> NDArray[np.uint8]:
        preprocessing = Preprocessing(side_pixels=side, mean=(0, 0, 0), std=(1, 1, 1))

        def pixels(path: Path) -> Tensor:
            return from_numpy(np.array(preprocessing.pixels(preprocessing.read(path))))

        with tempfile.TemporaryFile() as file:
            squares = np.memmap(file, np.uint8, "w+", shape=(len(self.paths), side, side, 3))
        row = 0
        with progress_bar(f"reading the photos at {side} pixels", len(self.paths)) as progress:
            for batch in read_batches(self.paths, pixels, lambda read: read, size=BATCH):
                for path, read in zip(batch.sources, batch.read, strict=True):
                    if isinstance(read, ImageError):
                        raise DataError(f"{path} could be read a moment ago and no longer can: {read}") from read
                    squares[row] = read.numpy()
                    row += 1
                progress(len(batch.sources))
        return squares
