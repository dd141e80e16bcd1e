"""The training photos: decoded once, kept in memory as long as they fit, returned in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from handful.service.artifact.errors import DataError, ImageError
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.compute.device import cpu_count
from handful.training.finetune.augmentation import Augmentation
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

LARGER = 1.25  # the kept photo's short side over the input's: room to turn and crop
MEMORY_GIGABYTES = 4.0  # 10,000 photos at 224 pixels, or 30,000 at 128

Pixels = NDArray[np.uint8]


class PhotoLoader:
    """Photos by their row. Several threads may read at once; the result does not depend on which of them reads."""

    def __init__(
        self, paths: Sequence[Path], preprocessing: Preprocessing, memory_gigabytes: float = MEMORY_GIGABYTES
    ) -> None:
        self.paths, self.preprocessing = paths, preprocessing
        self.augmentation = Augmentation.of(preprocessing)
        self._kept: dict[int, tuple[Pixels, Pixels]] = {}
        self._room_bytes = memory_gigabytes * 1e9

    def plain(self, row: int) -> Tensor:
        """`(3, S, S)` float32, as the service preprocesses the file."""
        return self.preprocessing.normalised(Image.fromarray(self._pixels(row)[0]))

    def augmented(self, row: int, seed: Sequence[int]) -> Tensor:
        """`(3, S, S)` float32; the same for the same seed."""
        random = np.random.default_rng([*seed, row])
        picture = self.augmentation(Image.fromarray(self._pixels(row)[1]), random)
        return self.preprocessing.normalised(picture)

    def batches(self, parts: Iterable[Iterable[int]], read: Callable[[int], Tensor]) -> Iterator[Tensor]:
        """One `(N, 3, S, S)` per part, which may be empty; the next one is read while the network computes."""
        side = self.preprocessing.side_pixels
        with ThreadPoolExecutor(cpu_count(), thread_name_prefix="augment") as pool:
            before: list[Future[Tensor]] | None = None
            for part in parts:
                current = [pool.submit(read, row) for row in part]
                if before is not None:
                    yield _stacked(before, side)
                before = current
            if before is not None:
                yield _stacked(before, side)

    def _pixels(self, row: int) -> tuple[Pixels, Pixels]:
        """(S, S, 3) and the larger (H, W, 3)."""
        kept = self._kept.get(row)
        if kept is not None:
            return kept
        image = self._read(self.paths[row])
        larger = self.preprocessing.resized(image, math.ceil(LARGER * self.preprocessing.side_pixels))
        read = np.asarray(self.preprocessing.pixels(image)), np.asarray(larger)
        if self._room_bytes > 0:
            self._room_bytes -= sum(pixels.nbytes for pixels in read)
            self._kept[row] = read
        return read

    def _read(self, path: Path) -> Image.Image:
        try:
            return self.preprocessing.read(path)
        except ImageError as e:
            raise DataError(f"{path} could be read before, and cannot be read now: {e}") from e


def _stacked(pictures: list[Future[Tensor]], side: int) -> Tensor:
    return torch.stack([picture.result() for picture in pictures]) if pictures else torch.empty(0, 3, side, side)
