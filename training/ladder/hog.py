"""Histograms of oriented gradients (Dalal and Triggs 2005): hand-made features, from before networks learned them.

As in the paper: the gradient of the colour channel that changes most, nine unsigned orientations, cells of 8 x 8
pixels, overlapping blocks of 2 x 2 cells, L2-Hys (each block scaled to length 1, clipped at 0.2, scaled to length 1
again). Simpler than the paper: a pixel votes for its own cell only, not also for the neighbouring ones.
"""

from __future__ import annotations

import numpy as np
from handful.training.head.labelled import Floats
from numpy.typing import NDArray

ORIENTATIONS = 9
CELL_PIXELS = 8
BLOCK_CELLS = 2
CUT = 0.2


def hog(pictures: NDArray[np.uint8]) -> Floats:
    """(N, S, S, 3) -> (N, D); for S = 64, D = 7 x 7 blocks x 4 cells x 9 = 1,764."""
    return np.stack([_blocks(_cells(*_gradient(picture))).ravel() for picture in pictures])


def _gradient(picture: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Strength and orientation (S, S), the latter in [0, 9), of the channel with the strongest gradient."""
    padded = np.pad(np.sqrt(picture.astype(np.float32) / 255), ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[1:-1, 2:] - padded[1:-1, :-2]  # (S, S, 3)
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    strength = np.hypot(across, down)
    strongest = strength.argmax(axis=2)[:, :, None]
    across, down, strength = (np.take_along_axis(a, strongest, axis=2)[:, :, 0] for a in (across, down, strength))
    return strength, np.arctan2(down, across) / np.pi * ORIENTATIONS % ORIENTATIONS


def _cells(strength: Floats, orientation: Floats) -> Floats:
    """(C, C, 9): each pixel's strength, divided between the two nearest orientations."""
    side = len(strength) // CELL_PIXELS
    used = side * CELL_PIXELS
    strength, orientation = strength[:used, :used], orientation[:used, :used]
    cell = np.arange(used) // CELL_PIXELS
    cell_of_pixel = cell[:, None] * side + cell  # (S, S)
    below = np.floor(orientation).astype(np.intp)
    share_above = orientation - below
    cells = np.zeros(side * side * ORIENTATIONS)
    for step, share in ((0, 1 - share_above), (1, share_above)):
        index = cell_of_pixel * ORIENTATIONS + (below + step) % ORIENTATIONS
        cells += np.bincount(index.ravel(), weights=(strength * share).ravel(), minlength=len(cells))
    return cells.reshape(side, side, ORIENTATIONS).astype(np.float32)


def _blocks(cells: Floats) -> Floats:
    """(C - 1, C - 1, 36), each block normalised."""
    across, down = (cells.shape[axis] - BLOCK_CELLS + 1 for axis in (0, 1))
    offsets = [(row, column) for row in range(BLOCK_CELLS) for column in range(BLOCK_CELLS)]
    blocks = np.concatenate([cells[row : row + across, column : column + down] for row, column in offsets], axis=2)
    return _to_length_one(np.minimum(_to_length_one(blocks), CUT))


def _to_length_one(blocks: Floats) -> Floats:
    return np.asarray(blocks / np.sqrt((blocks**2).sum(axis=2, keepdims=True) + 1e-4))
