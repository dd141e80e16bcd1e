"""Thumbnails in one file: what is put in comes out, and what a stranger invents is an error."""

from __future__ import annotations

import numpy as np
import pytest
from handful.service.artifact.thumbnails import Thumbnail, packed_thumbnails, unpacked_thumbnails

KEPT = [Thumbnail(b"\xff\xd8one", "bags/Sac à main.jpg"), Thumbnail(b"", ""), Thumbnail(b"\xff\xd8", "靴/1.png")]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_is_packed_can_be_unpacked(count: int) -> None:
    assert unpacked_thumbnails(packed_thumbnails(KEPT[:count])) == KEPT[:count]


@pytest.mark.parametrize("ends", [[5, 5, 6], [6, 5, 7], [5, 5], [-1, 5, 7], [5, 5, 900]])
def test_ends_that_do_not_fit_are_an_error(ends: list[int]) -> None:
    with pytest.raises(ValueError, match="ends"):
        unpacked_thumbnails({**packed_thumbnails(KEPT), "jpeg_ends": np.array(ends)})


def test_an_array_that_is_missing_is_an_error() -> None:
    arrays = packed_thumbnails(KEPT)
    del arrays["names"]
    with pytest.raises(LookupError):
        unpacked_thumbnails(arrays)
