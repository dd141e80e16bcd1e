"""Photos -> square uint8 pixels at the side that a rung needs, read once for all folds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import DataError, ImageError, UsageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.pipeline import read_batches
from handful.service.terminal.progress import progress_bar
from handful.training.head.labelled import Rows
from numpy.typing import NDArray

BATCH = 64


class StoredSquares:
    """N pictures (S, S, 3) in a temporary file, of which only those that are asked for are in memory.

    60,000 photos at 224 pixels are 9 GB. A mapped file would count as memory of the process as well.
    """

    def __init__(self, pictures: Iterable[NDArray[np.uint8]], side_pixels: int) -> None:
        """`UsageError` where the disk has no room for them."""
        self.shape = side_pixels, side_pixels, 3
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - this object keeps it open
        self._count = 0
        try:
            for picture in pictures:
                self._file.write(picture.tobytes())
                self._count += 1
            self._file.flush()
        except OSError as e:
            folder = tempfile.gettempdir()
            raise UsageError(f"The photos' pixels cannot be written to {folder} ({e.strerror}); set TMPDIR.") from e

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: Rows) -> NDArray[np.uint8]:
        """(M, S, S, 3) of the M rows, in their order."""
        pictures = np.empty((len(rows), *self.shape), np.uint8)
        size = pictures[:1].nbytes or 1
        first = 0
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):  # rows one after another: one call
            self._read_into(pictures[first : first + len(run)], int(run[0]) * size if len(run) else 0)
            first += len(run)
        return pictures

    def _read_into(self, pictures: NDArray[np.uint8], offset: int) -> None:
        buffer = pictures.reshape(-1).data
        while buffer:
            count = os.preadv(self._file.fileno(), [buffer], offset)  # at most 2 GB a call
            if count == 0:
                raise IndexError(f"there are {len(self)} pictures")
            buffer, offset = buffer[count:], offset + count


class Squares:
    """The middle square of each photo, as the backbone sees it; each side is read when it is first needed."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._of_side: dict[int, StoredSquares] = {}

    def at(self, side_pixels: int) -> StoredSquares:
        """N pictures (S, S, 3); `DataError` where a photo can no longer be read."""
        if side_pixels not in self._of_side:
            self._of_side[side_pixels] = StoredSquares(self._read(side_pixels), side_pixels)
        return self._of_side[side_pixels]

    def _read(self, side: int) -> Iterable[NDArray[np.uint8]]:
        preprocessing = Preprocessing(side_pixels=side, mean=(0, 0, 0), std=(1, 1, 1))

        def pixels(path: Path) -> NDArray[np.uint8]:
            return np.array(preprocessing.pixels(preprocessing.read(path)))

        with progress_bar(f"reading the photos at {side} pixels", len(self.paths)) as progress:
            for batch in read_batches(self.paths, pixels, None, size=BATCH):
                for path, read in zip(batch.sources, batch.read, strict=True):
                    if isinstance(read, ImageError):
                        raise DataError(f"{path} could be read a moment ago and no longer can: {read}") from read
                    yield read
                progress(len(batch.sources))
