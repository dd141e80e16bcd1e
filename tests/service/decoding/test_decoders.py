"""Decoders: the same pixels as in this process, within the memory and time they are given, and replaceable."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import bombs
import numpy as np
import pytest
import torch
from handful.service.artifact.errors import ImageError, ImageTooComplex, ImageTooManyPixels, NotAnImage
from handful.service.artifact.formats.primaries import DISPLAY_P3, matrix_profile
from handful.service.artifact.images import opened_image, read_image
from handful.service.artifact.preprocessing import Preprocessing
from handful.service.decoding.decoders import Decoders
from handful.service.decoding.messages import Task
from handful.service.decoding.processes import DecoderLost, DecoderProcess, DecoderSource, LargeImage, Reason
from handful.service.http.errors import Overloaded
from handful.service.http.metrics import ServiceMetrics
from handful.service.settings import Settings
from heif import heic
from PIL import Image
from running_server import encoded, until
from tiffs import tiff

PREPROCESSING = Preprocessing(side_pixels=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), crop_pct=0.875)
MAX_MEGABYTES = 100.0
WIDTH, HEIGHT = 2400, 2000

TAKES_MEMORY = """
import sys
from handful.service.decoding.decoder import _limited
from handful.service.decoding.messages import decoded_task
with _limited(decoded_task(sys.argv[1])):
    held = bytearray(90_000_000)
    print("90 MB")
    del held
    try:
        held = bytearray(130_000_000)
        print("130 MB")
    except MemoryError:
        print("no 130 MB")
held = bytearray(130_000_000)
print("130 MB afterwards")
"""

KINDS: list[tuple[str, str, dict[str, Any]]] = [
    ("JPEG", "RGB", {}),
    ("JPEG", "RGB", {"progressive": True, "subsampling": 0, "orientation": 6}),
    ("JPEG", "CMYK", {"progressive": True}),
    ("PNG", "RGB", {"orientation": 6}),
    ("PNG", "RGBA", {"orientation": 3}),
    ("PNG", "P", {"transparency": 0}),
    ("PNG", "I;16", {}),
    ("WEBP", "RGB", {"orientation": 8}),
    ("WEBP", "RGBA", {"lossless": True, "method": 0}),
    ("GIF", "P", {}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGBA", {"compression": "tiff_lzw", "orientation": 6}),
    ("TIFF", "RGB", {"compression": "tiff_adobe_deflate", "tiffinfo": {278: HEIGHT}}),
    ("TIFF", "F", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("JPEG", "RGB", {"icc_profile": matrix_profile(DISPLAY_P3), "orientation": 6}),
    ("JPEG", "CMYK", {"icc_profile": matrix_profile(DISPLAY_P3)}),
    ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
]
MADE: dict[str, Callable[[], bytes]] = {
    "a phone's photo": lambda: heic(25, 20, turns=1, profile=matrix_profile(DISPLAY_P3)),
    "pictures beside each other": lambda: heic(20, 15, hidden=False),
    "planes of 16 bits": lambda: tiff(deep(np.uint16)[:1500], photometric=2, planar=True, rows=HEIGHT),
    "planes of floats": lambda: tiff(deep(np.float32)[:800, :900], photometric=2, planar=True, rows=99),
    "tiles of 32 bits": lambda: tiff(deep(np.uint32)[:800, :900], photometric=2, tile=256, order=">"),
    "a JPEG without its end": lambda: saved("JPEG", "RGB", {"orientation": 6})[:-2],
}


def picture(mode: str) -> Image.Image:
    """Squares of random colours."""
    colours = np.random.default_rng(0).integers(0, 255, (HEIGHT // 50, WIDTH // 50, 3), dtype=np.uint8)
    image = Image.fromarray(colours.repeat(50, 0).repeat(50, 1))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


def deep(kind: type[np.number[Any]]) -> np.ndarray:
    scale = 1 / 255 if issubclass(kind, np.floating) else np.iinfo(kind).max // 255  # type: ignore[type-var]  # of integers here
    return (np.asarray(picture("RGB")).astype(np.float64) * scale).astype(kind)


def saved(kind: str, mode: str, options: dict[str, Any]) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = options.get("orientation", 1)
    others = {name: value for name, value in options.items() if name != "orientation"}
    file = io.BytesIO()
    picture(mode).save(file, kind, **({"exif": exif} if "orientation" in options else {}), **others)
    return file.getvalue()


def task(granted_bytes: int, *, slow: bool = True, seconds: float = 60) -> Task:
    return Task(
        preprocessing=PREPROCESSING,
        max_megabytes=MAX_MEGABYTES,
        max_megapixels=100,
        max_decode_megabytes=900,
        granted_bytes=granted_bytes,
        slow=slow,
        seconds=seconds,
    )


@pytest.fixture(scope="module")
def source() -> Iterator[DecoderSource]:
    source = DecoderSource()
    yield source
    source.close()


@pytest.fixture
def decoder(source: DecoderSource) -> Iterator[DecoderProcess]:
    process = source.decoder(0)
    yield process
    process.kill()


@pytest.mark.parametrize(("kind", "mode", "options"), KINDS)
def test_the_memory_that_is_counted_suffices_and_the_pixels_are_the_same(
    decoder: DecoderProcess, kind: str, mode: str, options: dict[str, Any]
) -> None:
    check_memory(decoder, saved(kind, mode, options))


@pytest.mark.parametrize("name", MADE)
def test_the_same_of_what_pillow_does_not_write(decoder: DecoderProcess, name: str) -> None:
    check_memory(decoder, MADE[name]())


def check_memory(decoder: DecoderProcess, data: bytes) -> None:
    side = PREPROCESSING.min_decode_side
    with opened_image(data, min_side=side, max_megabytes=MAX_MEGABYTES) as image:
        needed = image.cost.held_bytes
    with pytest.raises(LargeImage) as e:
        decoder.ask(task(needed - 1), data, 60)
    assert e.value.held_bytes == needed
    answer = decoder.ask(task(needed), data, 60)
    expected = PREPROCESSING.pixels(read_image(data, min_side=side, max_megabytes=MAX_MEGABYTES))
    assert np.array_equal(answer, np.asarray(expected))


def test_errors_arrive_with_their_class_and_sentence_and_the_process_goes_on(decoder: DecoderProcess) -> None:
    for data, error in ((b"no image", NotAnImage), (bombs.run_length_bmp(10**8, 1), ImageTooManyPixels)):
        with pytest.raises(ImageError) as e:
            decoder.ask(task(10**7), data, 60)
        assert type(e.value) is error
        assert str(e.value).endswith("allowed.")
    assert decoder.ask(task(10**7), encoded(), 60).shape == (32, 32, 3)


def test_an_image_that_may_be_slow_is_large_whatever_its_size(decoder: DecoderProcess) -> None:
    for data in (bombs.progressive_jpeg(60, 1000), bombs.run_length_bmp(100, 100)):
        with pytest.raises(LargeImage):
            decoder.ask(task(10**8, slow=False), data, 60)


def test_computing_for_too_long_ends_the_process(decoder: DecoderProcess) -> None:
    with pytest.raises(DecoderLost) as e:
        decoder.ask(task(10**9, seconds=0.2), bombs.progressive_jpeg(95, 4000), 600)
    assert e.value.reason is Reason.TIME
    until(lambda: not alive(decoder.pid))


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux limits the memory of a running process.")
def test_a_decoder_gets_no_more_memory_than_it_was_granted() -> None:
    """In a process of its own, as no image is known whose decoding takes more than is counted for it."""
    command = [sys.executable, "-c", TAKES_MEMORY, task(100_000_000).model_dump_json()]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["90 MB", "no 130 MB", "130 MB afterwards"]


def test_a_process_that_answers_nothing_is_killed(decoder: DecoderProcess) -> None:
    os.kill(decoder.pid, signal.SIGSTOP)
    with pytest.raises(DecoderLost) as e:
        decoder.ask(task(10**7), encoded(), 0.2)
    assert e.value.reason is Reason.TIME
    until(lambda: not alive(decoder.pid))


def test_a_process_that_was_killed_is_told_apart(decoder: DecoderProcess) -> None:
    os.kill(decoder.pid, signal.SIGKILL)
    with pytest.raises(DecoderLost) as e:
        decoder.ask(task(10**7), encoded(), 60)
    assert e.value.reason is Reason.CRASH


def test_the_source_is_replaced_when_it_is_lost() -> None:
    source = DecoderSource()
    source._process.kill()
    source._process.wait()
    process = source.decoder(0)
    assert process.ask(task(10**7), encoded(), 60).shape == (32, 32, 3)
    source.close()
    process.connection.close()
    until(lambda: not alive(process.pid))  # without its worker it ends


def test_small_and_large_images_have_their_answers_and_limits() -> None:
    async def ask(decoders: Decoders) -> None:
        small, large = encoded(), saved("PNG", "RGBA", {})
        for data in (small, large):
            expected = PREPROCESSING(PREPROCESSING.read(data))
            assert torch.equal(await decoders.pixels(data, PREPROCESSING, PREPROCESSING.normalised), expected)
            await decoders.check(data)
        with pytest.raises(ImageTooComplex, match="at most 100 MB"):
            await decoders.check(bombs.png(6000, 6000))

    run(Settings(max_decode_megabytes=100), ask)


def test_slow_images_are_given_up_and_small_ones_do_not_wait_for_them() -> None:
    async def ask(decoders: Decoders) -> None:
        with pytest.raises(ImageTooComplex, match=r"more than 0\.5 seconds"):
            await decoders.check(bombs.progressive_jpeg(95, 4000))
        slow = [asyncio.ensure_future(decoders.check(bombs.progressive_jpeg(95, 3000))) for _ in range(8)]
        await asyncio.wait_for(decoders.check(encoded()), 60)
        await asyncio.gather(*slow, return_exceptions=True)
        assert decoders.problem is None

    run(Settings(decode_seconds=0.5), ask)


def test_more_large_images_than_there_is_room_for_are_refused() -> None:
    settings = Settings(max_images=2, max_waiting_images=4)

    async def ask(decoders: Decoders) -> None:
        data, all_bytes = bombs.progressive_jpeg(60, 1000), int(settings.decode_megabytes * 1e6)
        await decoders._memory.take(all_bytes)  # so that none is finished before the others have come
        checks = [asyncio.ensure_future(decoders.check(data)) for _ in range(6)]
        while sum(check.done() for check in checks) < 4:
            await asyncio.wait([check for check in checks if not check.done()], return_when=asyncio.FIRST_COMPLETED)
        decoders._memory.give_back(all_bytes)
        results = await asyncio.gather(*checks, return_exceptions=True)
        assert results.count(None) == 2
        assert sum(isinstance(result, Overloaded) for result in results) == 4

    run(settings, ask)


def run(settings: Settings, ask: Any) -> None:
    async def main() -> None:
        decoders = Decoders(settings, ServiceMetrics())
        try:
            await ask(decoders)
        finally:
            decoders.close()

    asyncio.run(main())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
