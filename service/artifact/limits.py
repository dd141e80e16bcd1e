"""The limits on encoded images, which the commands and the service take from the same variables."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from handful.service.artifact.errors import UsageError

MAX_MEGABYTES = 20.0
MAX_MEGAPIXELS = 100.0
MAX_DECODE_MEGABYTES = 900.0  # what 100 megapixels may take
MOST_BYTES = 25  # per pixel, of the format that takes the most memory
MEGABYTES_VARIABLE = "HANDFUL_MAX_IMAGE_MEGABYTES"
MEGAPIXELS_VARIABLE = "HANDFUL_MAX_MEGAPIXELS"


class ImageLimits(NamedTuple):
    """The most that one image may have."""

    megabytes: float = MAX_MEGABYTES  # encoded
    megapixels: float = MAX_MEGAPIXELS

    @property
    def decode_megabytes(self) -> float:
        """Memory to decode it in. Whoever allows more pixels than usual means them in any format."""
        return MAX_DECODE_MEGABYTES if self.megapixels <= MAX_MEGAPIXELS else MOST_BYTES * self.megapixels + 100


def decode_megabytes(megapixels: float) -> float:
    """The memory that so many pixels may take: a limit on pixels would mean nothing without it."""
    return max(MAX_DECODE_MEGABYTES, MAX_DECODE_MEGABYTES / MAX_MEGAPIXELS * megapixels)


def image_limits() -> ImageLimits:
    """Those of the environment. Raises `UsageError` for a value that is no number above 0."""
    return ImageLimits(_positive(MEGABYTES_VARIABLE, MAX_MEGABYTES), _positive(MEGAPIXELS_VARIABLE, MAX_MEGAPIXELS))


def _positive(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"{variable} is {text!r}; a number above 0 is allowed.")
    return value
