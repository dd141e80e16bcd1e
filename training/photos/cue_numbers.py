"""One photo -> numbers about how it was taken, none of which shows its object; `cues.py` asks what they tell.

They are made from the pixels that are decoded for the embedding, in the threads that decode.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128  # pixels of the longer side that brightness, sharpness and background are measured at
BORDER = 0.06  # of both sides: what counts as background
COLUMNS = {  # of the numbers, by cue
    "brightness": slice(0, 1),
    "sharpness": slice(1, 2),
    "shape": slice(2, 3),
    "background": slice(3, 6),
    "file size": slice(6, 7),
}
Numbers = NDArray[np.float32]


def cue_numbers(image: Image.Image, file_bytes: int) -> Numbers:
    """(7,) of an upright RGB image; `COLUMNS` names them."""
    width, height = image.size
    scale = min(1.0, SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), dtype=np.float32) / 255
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)  # (H, W), ITU-R BT.601
    edge = [max(1, round(BORDER * side)) for side in grey.shape]
    inside = np.zeros(grey.shape, dtype=bool)
    inside[edge[0] : -edge[0], edge[1] : -edge[1]] = True
    background = np.median(pixels[~inside], axis=0)
    return np.array([grey.mean(), _sharpness(grey), np.log(width / height), *background, np.log(max(file_bytes, 1))],
                    dtype=np.float32)  # fmt: skip


def _sharpness(grey: NDArray[np.floating]) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000), as a logarithm and against the contrast."""
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return float(np.log((laplacian.var() + 1e-6) / (grey.var() + 1e-4)))
