"""Generated pictures that show nothing, and their embeddings: how far from a label is a picture that cannot be of it?

The distance depends on the backbone and on how narrow a label is, and the nearest photos of other things are at about
three quarters of it, whichever the backbone. So any backbone can be asked without a photo of other things. Coloured
discs, bars and triangles, some of them striped, were the steadiest of what was tried: backgrounds without an object are
farther with one backbone than with another, and shuffled parts of the training photos are still too much like these
(training/LOG.md).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from handful.service.artifact.preprocessing import Preprocessing, stacked
from handful.service.compute.network import Network
from handful.training.embeddings import Embedder
from numpy.typing import NDArray
from PIL import Image

COUNT = 24  # with more the mean distance moves by less than 0.01
SIDE = 256  # pixels
BATCH = 8
VERSION = 1  # of the pictures, in the cache
FIRST_SEED = 1000

Floats = NDArray[np.float32]
Coordinates = NDArray[np.float64]


def cached_generic(embedder: Embedder) -> Floats:
    """(G, D) by the embedder's network; computed once per backbone and cache."""
    keys = [f"{embedder.prefix}generic-{VERSION}-{number}" for number in range(COUNT)]
    known = embedder.cache.get(keys)
    if len(known) < COUNT:
        rows = embed_generic(embedder.network, embedder.preprocessing)
        known = {key: ("", row) for key, row in zip(keys, rows, strict=True)}
        embedder.cache.put(known)
    return np.stack([known[key][1] for key in keys])


def embed_generic(network: Network, preprocessing: Preprocessing) -> Floats:
    """(G, D)"""
    pixels = [preprocessing(picture) for picture in generic_pictures()]
    batches = (stacked(pixels[start : start + BATCH]) for start in range(0, COUNT, BATCH))
    return np.concatenate([network.embed(batch, pad_to=BATCH).numpy() for batch in batches])


@cache
def generic_pictures() -> tuple[Image.Image, ...]:
    """Always the same ones: half a second to draw, 5 MB to keep; the next backbone is asked about them, too."""
    return tuple(_picture(np.random.default_rng(FIRST_SEED + number)) for number in range(COUNT))


def _picture(rng: np.random.Generator) -> Image.Image:
    """5 to 200 shapes of 4 to 90 pixels, anywhere and in any colour."""
    canvas = np.empty((SIDE, SIDE, 3), np.float32)
    canvas[:] = rng.random(3)
    for _ in range(rng.integers(5, 200)):
        radius = np.exp(rng.uniform(np.log(4), np.log(90)))
        across, down = rng.uniform(0, SIDE, 2)
        kind, turn = rng.integers(3), rng.uniform(0, np.pi)
        rows, columns = (_within(middle, 1.5 * radius) for middle in (down, across))  # a shape reaches at most 1.42
        y, x = np.ogrid[rows, columns]
        u = (x - across) * np.cos(turn) + (y - down) * np.sin(turn)
        v = (y - down) * np.cos(turn) - (x - across) * np.sin(turn)
        inside = _inside(kind, u, v, radius, radius * rng.uniform(0.2, 1))
        colour = rng.random(3)
        if rng.random() < 0.3:  # striped
            canvas[rows, columns][inside] = colour * (1 + 0.3 * np.sin(u[inside] * rng.uniform(0, 1)))[:, None]
        else:
            canvas[rows, columns][inside] = colour
    return Image.fromarray((canvas.clip(0, 1) * 255).astype(np.uint8))


def _inside(kind: np.integer, u: Coordinates, v: Coordinates, radius: float, height: float) -> NDArray[np.bool_]:
    """Of the points (u, v) on a shape's own axes: those in the disc, in the bar of that height, or in the triangle."""
    if kind == 0:
        return u * u + v * v < radius * radius
    if kind == 1:
        return (np.abs(u) < radius) & (np.abs(v) < height)
    return (v > -radius / 2) & (np.abs(u) < (radius - v) / 2) & (v < radius)


def _within(middle: float, reach: float) -> slice:
    """The pixels of one axis that a shape may touch."""
    return slice(max(0, int(middle - reach)), min(SIDE, int(middle + reach) + 1))
