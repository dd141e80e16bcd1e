"""One decoder for everything: formats, modes, orientation, limits, damage."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import bombs
import numpy as np
import pytest
from handful.service.artifact.errors import (
    ImageError,
    ImageTooComplex,
    ImageTooManyBytes,
    ImageTooManyPixels,
    ImageTruncated,
    ImageUnreadable,
    NotAnImage,
)
from handful.service.artifact.images import may_be_image, read_image
from PIL import Image

FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
]


def picture(width: int = 96, height: int = 64) -> Image.Image:
    """Red on the left, blue on the right, darker downwards."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(1, 0.4, height))
    pixels = np.stack([255 * (1 - x) * y, 40 * y, 255 * x * y], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "options"), FORMATS)
def test_every_format_is_read_as_the_same_rgb_picture(kind: str, options: dict[str, Any]) -> None:
    image = read_image(encoded(picture(), kind, **options))
    assert image.mode == "RGB"
    assert image.size == (96, 64)
    difference = np.abs(np.asarray(image, dtype=float) - np.asarray(picture(), dtype=float)).mean()
    assert difference < (16 if kind == "GIF" else 6)


@pytest.mark.parametrize(("kind", "options"), FORMATS)
def test_a_file_cut_at_any_tenth_is_an_error_never_half_an_image(kind: str, options: dict[str, Any]) -> None:
    data = encoded(picture(), kind, **options)
    for tenth in range(1, 10):
        with pytest.raises((ImageTruncated, ImageUnreadable)):
            read_image(data[: len(data) * tenth // 10])


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]
)
def test_every_mode_that_tiff_or_png_can_hold_becomes_rgb(mode: str) -> None:
    image = picture().convert("L").convert("I").convert("I;16") if mode == "I;16" else picture().convert(mode)
    for kind in ("PNG", "TIFF"):
        try:
            data = encoded(image, kind)
        except (OSError, KeyError, ValueError):
            continue  # this format has no such mode
        assert read_image(data).mode == "RGB"


def test_sixteen_bit_grey_keeps_its_range() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        values = np.asarray(read_image(encoded(Image.fromarray(ramp), kind)))
        assert np.abs(values[..., 0].astype(float) - ramp / 257.0).max() <= 1


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0] * 256)
    for data in (encoded(clear, "PNG"), encoded(clear, "WEBP"), encoded(palette, "PNG", transparency=0)):
        assert read_image(data).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_undone_for_all_eight_values(kind: str) -> None:
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for value, turn in stored.items():
        exif = Image.Exif()
        exif[0x0112] = value
        turned = picture() if turn is None else picture().transpose(turn)
        image = read_image(encoded(turned, kind, exif=exif))
        assert image.size == (96, 64), value
        difference = np.abs(np.asarray(image, dtype=float) - np.asarray(picture(), dtype=float)).mean()
        assert difference < 6, value


def test_damaged_exif_does_not_spoil_a_whole_picture() -> None:
    data = encoded(picture(), "JPEG")
    garbage = b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\x01" * 20
    segment = b"\xff\xe1" + struct.pack(">H", len(garbage) + 2) + garbage
    assert read_image(data[:2] + segment + data[2:]).size == (96, 64)


def test_animations_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red, green, _ = np.asarray(read_image(data))[8, 8]
        assert red > 200, kind
        assert green < 60, kind


def test_a_large_jpeg_is_decoded_small_but_never_below_the_side_asked_for() -> None:
    data = encoded(picture(1600, 1200), "JPEG")
    assert read_image(data).size == (1600, 1200)
    assert read_image(data, min_side=300).size == (400, 300)
    assert read_image(data, min_side=301).size == (800, 600)
    assert read_image(data, min_side=4000).size == (1600, 1200)


def test_too_many_bytes_says_how_many_were_got_and_allowed(tmp_path: Path) -> None:
    data = encoded(picture(), "BMP")
    (tmp_path / "a.bmp").write_bytes(data)
    for source in (data, tmp_path / "a.bmp"):
        with pytest.raises(ImageTooManyBytes, match=r"at most 0\.01 MB"):
            read_image(source, max_megabytes=0.01)


def test_too_many_pixels_is_refused_before_decoding() -> None:
    with pytest.raises(ImageTooManyPixels, match="12000 x 10000 pixels"):
        read_image(bomb(12000, 10000))
    with pytest.raises(ImageTooManyPixels, match="at most 100 megapixels"):
        read_image(bomb(20000, 10050))
    with pytest.raises(ImageTooManyPixels, match=r"at most 0\.005 megapixels"):
        read_image(encoded(picture(), "PNG"), max_megapixels=0.005)


def test_a_side_that_no_camera_has_is_refused() -> None:
    with pytest.raises(ImageTooManyPixels, match="65501 x 1 pixels; at most 65500 pixels per side"):
        read_image(bombs.run_length_bmp(65_501, 1))


def test_scans_of_a_jpeg_are_counted_and_those_beside_the_picture_are_not() -> None:
    honest = encoded(picture(), "JPEG", progressive=True)
    assert honest.count(b"\xff\xda") < 20
    assert read_image(bombs.progressive_jpeg(100, 64)).size == (64, 64)
    with pytest.raises(ImageTooComplex, match="at most 100"):
        read_image(bombs.progressive_jpeg(101, 64))
    beside = b"\xff\xda\0\x08" * 200
    comment = b"\xff\xfe" + struct.pack(">H", len(beside) + 2) + beside
    for data in (honest[:2] + comment + honest[2:], honest + beside):
        assert read_image(data).size == (96, 64)
    first = honest.index(b"\xff\xda")
    assert read_image(honest[:first] + comment + honest[first:]).size == (96, 64)


@pytest.mark.parametrize(
    "data", [bombs.webp_canvas(9000, 9000), bombs.tiled_tiff(64, 16_384), bombs.run_length_bmp(65_000, 1_530)]
)
def test_what_would_take_too_much_memory_is_refused_before_decoding(data: bytes) -> None:
    with pytest.raises(ImageTooComplex, match=r"would take \d+ MB of memory; at most 900 MB are allowed"):
        read_image(data)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "F", "P", "CMYK"])
def test_a_picture_converted_in_bands_is_the_same_as_at_once(mode: str) -> None:
    big = picture(900, 700)  # more than two bands
    image = big.convert("L").convert("I").convert("I;16") if mode == "I;16" else big.convert(mode)
    whole = image
    if mode in {"RGBA", "LA"}:
        whole = Image.new("RGB", image.size, "white")
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        whole.paste(image.convert("RGBA"), mask=image.getchannel("A"))
    if mode in {"I;16", "F"}:
        values = np.asarray(image, dtype=np.float64) * (1 / 257 if mode == "I;16" else 1.0)
        whole = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    read = read_image(encoded(image, "TIFF"))
    assert np.array_equal(np.asarray(read), np.asarray(whole.convert("RGB")))


def bomb(width: int, height: int) -> bytes:
    """A PNG that announces many pixels in few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ImageUnreadable),
        (b"hello, this is no image at all", NotAnImage),
        (b"%PDF-1.7 ...", NotAnImage),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NotAnImage),
        (b"\0\0\0\x18ftypheic" + b"\0" * 64, ImageUnreadable),
        (b"\x89PNG\r\n\x1a\n", ImageError),
        (b"GIF89a", ImageError),
        (b"BM", ImageError),
        (b"RIFF\0\0\0\0WEBP", ImageError),
    ],
)
def test_what_is_no_image_gets_its_own_error(data: bytes, error: type[ImageError]) -> None:
    with pytest.raises(error):
        read_image(data)


def test_two_thousand_mutated_files_raise_nothing_but_image_errors() -> None:
    random = np.random.default_rng(0)
    originals = [encoded(picture(), kind, **options) for kind, options in FORMATS]
    for number in range(2000):
        data = bytearray(originals[number % len(originals)])
        for position in random.integers(0, len(data), random.integers(1, 20)):
            data[position] = random.integers(0, 256)
        try:
            assert read_image(bytes(data), min_side=32, max_megapixels=1).mode == "RGB"
        except ImageError as e:
            assert str(e).endswith(".")  # noqa: PT017 - either outcome is right


def test_paths_that_are_no_regular_files_are_unreadable(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name in ("pipe.jpg", "gone.jpg", "loop.jpg", "missing.jpg", "."):
        with pytest.raises(ImageUnreadable):
            read_image(tmp_path / name)


def test_an_image_is_known_by_its_ending_or_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(encoded(picture(), "JPEG"))
    (tmp_path / "phone.HEIC").write_bytes(b"not read by us, but promised")
    (tmp_path / "notes.txt").write_text("no image")
    assert may_be_image(tmp_path / "photo")
    assert may_be_image(tmp_path / "phone.HEIC")
    assert not may_be_image(tmp_path / "notes.txt")
