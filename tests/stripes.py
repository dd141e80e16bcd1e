"""Photos that a random network cannot tell apart without fine-tuning: horizontal and vertical stripes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("lying", "standing")


def write_stripes(folder: Path, per_label: int, side: int = 40) -> Path:
    """Writes noisy stripes of random colour, width and phase."""
    for label, name in enumerate(LABELS):
        (folder / name).mkdir(parents=True)
        for number in range(per_label):
            Image.fromarray(stripes(label, 1000 * label + number, side)).save(folder / name / f"{number:02}.png")
    return folder


def stripes(label: int, seed: int, side: int) -> np.ndarray:
    """(S, S, 3) uint8; label 0 is horizontal, 1 vertical."""
    random = np.random.default_rng(seed)
    wave = np.sin(np.arange(side) * random.uniform(0.7, 1.4) + random.uniform(0, 6))
    pixels = 128 + 60 * random.uniform(0.5, 1, 3) * np.broadcast_to(wave[:, None, None], (side, side, 3))
    pixels = pixels + random.normal(0, 25, (side, side, 3)) + random.uniform(-40, 40, 3)
    pixels = pixels.transpose(1, 0, 2) if label else pixels
    return np.asarray(pixels.clip(0, 255).astype(np.uint8))
