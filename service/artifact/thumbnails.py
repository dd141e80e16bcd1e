"""thumbnails.safetensors: a small JPEG and the relative name of each training photo, all in one file.

One file, not a folder of many: it has one hash in the card, is synced to the disk, pushed and pulled at once, and is
data of the format that everything else in an artifact has. Bytes and names are joined; `*_ends` say where each ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy takes a sixth of a second, which a mistyped name need not wait for
    import numpy as np
    from numpy.typing import NDArray

SIDE = 96  # pixels of the longer side


@dataclass(frozen=True)
class Thumbnail:
    """One training photo; either may be empty where an older artifact had none."""

    jpeg: bytes
    name: str  # relative to the folder that it was learned from


def packed_thumbnails(thumbnails: Sequence[Thumbnail]) -> dict[str, NDArray[Any]]:
    """Arrays `jpegs` and `names` (bytes joined), `jpeg_ends` and `name_ends` (N,)."""
    jpegs, jpeg_ends = _joined([each.jpeg for each in thumbnails])
    names, name_ends = _joined([each.name.encode() for each in thumbnails])
    return {"jpegs": jpegs, "jpeg_ends": jpeg_ends, "names": names, "name_ends": name_ends}


def unpacked_thumbnails(arrays: Mapping[str, NDArray[Any]]) -> list[Thumbnail]:
    """Raises LookupError or ValueError for arrays that `packed_thumbnails` did not make."""
    jpegs = _parted(arrays["jpegs"], arrays["jpeg_ends"])
    names = _parted(arrays["names"], arrays["name_ends"])
    return [Thumbnail(jpeg, name.decode()) for jpeg, name in zip(jpegs, names, strict=True)]


def _joined(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    import numpy as np

    return np.frombuffer(b"".join(parts), np.uint8).copy(), np.cumsum([len(part) for part in parts], dtype=np.int64)


def _parted(joined: NDArray[Any], ends: NDArray[Any]) -> list[bytes]:
    import numpy as np

    starts, length = np.concatenate([[0], ends])[:-1], ends[-1] if len(ends) else 0
    if joined.dtype != np.uint8 or (starts > ends).any() or length != len(joined):
        raise ValueError("the ends of its parts do not fit their bytes")
    whole = joined.tobytes()
    return [whole[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
