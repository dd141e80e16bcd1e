"""A long run reads its photos in decoder processes where that is faster: the same pictures, the same errors."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest
from handful.service.artifact.errors import ImageError
from handful.service.artifact.preprocessing import Preprocessing, Source
from handful.service.decoding.reader import PHOTOS_TRIED, PictureReader
from PIL import Image
from running_server import until

PREPROCESSING = Preprocessing(side_pixels=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), crop_pct=0.875)
OTHERS = set[int]()
ALWAYS, NEVER = 0.0, float("inf")  # times as fast as threads must the decoders be


def noise(mode: str, kind: str, width: int, height: int) -> bytes:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, len(mode)), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    folder = tmp_path_factory.mktemp("photos")
    whole = noise("RGB", "JPEG", 300, 200)
    made = {
        "whole.jpg": whole,
        "see-through.png": noise("RGBA", "PNG", 90, 120),
        "cut.jpg": whole[: len(whole) // 2],
        "camera.nef": b"no picture that anybody reads",
        "empty.webp": b"",
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    open_one = Image.open(io.BytesIO(whole))
    return [*(folder / name for name in made), folder, folder / "not-there.jpg", whole, open_one]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo that takes more memory than a decoder gets unasked."""
    path = tmp_path_factory.mktemp("large") / "large.png"
    Image.new("RGB", (5000, 4500), "teal").save(path)
    return path


def outcome(reader: PictureReader, source: Source) -> object:
    try:
        return reader(source).tolist()
    except ImageError as e:
        return type(e), str(e)


def forkers() -> list[psutil.Process]:
    """The processes below this one that decoders are forked from; those of services lie further below."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "handful.service.decoding" in child.cmdline() and child.pid not in OTHERS:
                found.append(child)
    return found


@pytest.fixture(autouse=True)
def _of_this_test() -> Iterator[None]:
    """What other tests may have left is not looked at."""
    OTHERS.update(each.pid for each in forkers())
    yield
    OTHERS.clear()


def decoders() -> list[int]:
    """The processes that were forked to decode, by their ids."""
    found = list[int]()
    for forker in forkers():
        with suppress(psutil.Error):
            found.extend(each.pid for each in forker.children())
    return found


@contextmanager
def with_decoders(source: Source, gain: float) -> Iterator[PictureReader]:
    with PictureReader(PREPROCESSING, photos_before=0, gain=gain) as reader:

        def asked() -> bool:
            reader(source)
            return bool(decoders())

        until(asked)
        yield reader


def test_pictures_and_errors_are_those_of_threads(sources: list[Source], large: Path) -> None:
    with PictureReader(PREPROCESSING) as near:
        expected = [outcome(near, source) for source in sources]
        expected_of_large = outcome(near, large)
    assert not decoders()  # so few photos start none
    assert [isinstance(each, list) for each in expected] == [True] * 2 + [False] * 5 + [True] * 2
    with with_decoders(sources[0], ALWAYS) as far, ThreadPoolExecutor(2) as pool:
        for _ in range(3):  # half of these by threads
            assert list(pool.map(lambda source: outcome(far, source), sources)) == expected
        for _ in range(2 * PHOTOS_TRIED + 2):
            far(sources[0])
        assert [outcome(far, source) for source in sources] == expected
        assert outcome(far, large) == expected_of_large
        assert decoders()
    until(lambda: not decoders())


def test_a_decoder_that_is_lost_is_replaced(sources: list[Source]) -> None:
    with with_decoders(sources[0], ALWAYS) as reader:
        for _ in range(4):
            for pid in decoders():
                os.kill(pid, signal.SIGKILL)
            assert reader(sources[0]).shape == (32, 32, 3)
            assert reader(sources[0]).shape == (32, 32, 3)


def test_decoders_that_are_no_faster_are_ended(sources: list[Source]) -> None:
    with with_decoders(sources[0], NEVER) as reader:
        expected = reader(sources[0])
        for _ in range(2 * PHOTOS_TRIED):
            assert np.array_equal(reader(sources[0]), expected)

        def ended() -> bool:
            reader(sources[0])
            return not decoders()

        until(ended)
