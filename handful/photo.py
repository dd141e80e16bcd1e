"""What a person passes as a photo -> what the classifier reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handful.service.artifact.errors import UsageError
from handful.service.artifact.preprocessing import Source
from handful.service.terminal.output import check_photo

Photo: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]
ALLOWED = "a path, bytes, a PIL image, a numpy array, or a list of them"
CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class NamedPhoto:
    """A photo and the name that it has in answers and errors."""

    name: str
    source: Source

    @classmethod
    def of(cls, photo: Photo, number: int | None = None) -> NamedPhoto:
        """Raises `UsageError` for what is no photo. The name is the path; without one, `photo` and its number."""
        if isinstance(photo, str | os.PathLike):
            path = Path(photo).expanduser()
            check_photo(path)
            return cls(os.fsencode(path).decode("utf-8", "backslashreplace"), path)
        return cls("photo" if number is None else f"photo {number}", _in_memory(photo))


def named_photos(photos: Iterable[Photo]) -> Iterator[NamedPhoto]:
    """Counts from 1."""
    return (NamedPhoto.of(photo, number) for number, photo in enumerate(photos, 1))


def is_one(photo: object) -> bool:
    """Whether it stands for one photo; a list of photos does not, nor does what is no photo at all."""
    return isinstance(photo, str | os.PathLike | bytes | bytearray | memoryview | Image.Image | np.ndarray)


def _in_memory(photo: object) -> Source:
    if isinstance(photo, Image.Image):
        return photo
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, np.ndarray):
        return _from_array(photo)
    raise UsageError(f"The photo is of type {type(photo).__name__}; {ALLOWED} is allowed.")


def _from_array(array: NDArray[np.generic]) -> Image.Image:
    shape = " × ".join(map(str, array.shape)) or "()"
    if array.dtype != np.uint8:
        raise UsageError(f"The array holds {array.dtype}; uint8, from 0 to 255, is allowed.")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)):
        raise UsageError(
            f"The array has the shape {shape}; height × width, or with a third axis of 1 (grey), 3 (RGB) or 4"
            " (RGB and alpha) channels, is allowed. Several photos are passed as a list."
        )
    if not array.size:
        raise UsageError(f"The array has the shape {shape}, which has no pixels.")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))
