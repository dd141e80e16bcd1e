"""Formats, colours and layouts that people have: read rightly, or refused by a sentence that is true."""

from __future__ import annotations

import io
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
    ImageTooManyPixels,
    ImageTruncated,
    ImageUnreadable,
    NotAnImage,
)
from handful.service.artifact.formats.primaries import BT_2020, DISPLAY_P3, matrix_profile
from handful.service.artifact.images import may_be_image, read_image
from heif import SIDE, heic
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin
from tiffs import tiff

# XYZ under D50 of sRGB's primaries, as columns (Lindbloom)
SRGB = np.array(((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))).T
WIDTH, HEIGHT = 96, 64


def picture(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.float64]:
    """(height, width, 3) in [0, 1]: red on the left, blue on the right, darker downwards."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(1, 0.4, height))
    return np.stack([(1 - x) * y, 0.16 * y, x * y], axis=-1)


def drawn(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    return Image.fromarray((255 * picture(width, height)).round().astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def difference(image: Image.Image, expected: NDArray[Any]) -> float:
    """Mean, of 255; a grey picture is expected to be the same in all channels."""
    assert image.mode == "RGB"
    assert image.size == expected.shape[1::-1]
    return float(np.abs(np.asarray(image, dtype=float) - expected).mean())


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix", b"msf1"])
@pytest.mark.parametrize("hidden", [True, False])
def test_a_phones_photo_is_read_whatever_it_calls_itself(brand: bytes, hidden: bool, tmp_path: Path) -> None:
    data = heic(3, 2, brand=brand, hidden=hidden)
    expected = 255 * np.tile(picture(SIDE, SIDE), (2, 3, 1))
    assert difference(read_image(data), expected) < 6
    (tmp_path / "photo.jpg").write_bytes(data)
    assert difference(read_image(tmp_path / "photo.jpg"), expected) < 6
    (tmp_path / "no-ending").write_bytes(data)
    assert may_be_image(tmp_path / "no-ending")


def test_a_phones_photo_is_turned_upright_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # phones say it twice; what the box says is meant
    for turns in range(4):
        expected = np.rot90(255 * np.tile(picture(SIDE, SIDE), (1, 2, 1)), turns)
        assert difference(read_image(heic(2, 1, turns=turns, exif=exif.tobytes()[6:])), expected) < 6


def test_a_large_phone_photo_is_made_small_but_not_below_the_side_asked_for() -> None:
    assert read_image(heic(10, 8), min_side=120).size == (160, 128)
    assert read_image(encoded(drawn(640, 480), "AVIF", speed=10), min_side=120).size == (160, 120)
    assert read_image(heic(10, 8)).size == (640, 512)


@pytest.mark.parametrize("options", [{}, {"subsampling": "4:4:4"}, {"quality": 100}])
def test_avif_is_read(options: dict[str, Any]) -> None:
    assert difference(read_image(encoded(drawn(), "AVIF", speed=10, **options)), 255 * picture()) < 6
    clear = drawn()
    clear.putalpha(0)
    assert difference(read_image(encoded(clear, "AVIF", speed=10)), np.full((HEIGHT, WIDTH, 3), 255.0)) < 1


def test_limits_hold_before_a_phones_photo_is_decoded() -> None:
    assert read_image(heic(4, 4), max_megapixels=0.07).size == (256, 256)
    for data in (heic(4, 4), encoded(drawn(256, 256), "AVIF", speed=10)):
        with pytest.raises(ImageTooManyPixels, match="256 x 256 pixels"):
            read_image(data, max_megapixels=0.06)
    huge = heic(2, 2).replace(struct.pack(">II", 128, 128), struct.pack(">II", 9000, 8000))
    with pytest.raises(ImageTooComplex, match="at most 900 MB"):
        read_image(huge)


def test_half_a_phones_photo_is_an_error() -> None:
    for data in (heic(2, 2), encoded(drawn(), "AVIF", speed=10)):
        for tenth in range(1, 10):
            with pytest.raises(ImageError):
                read_image(data[: len(data) * tenth // 10])


def linear(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_srgb(values: NDArray[np.float64], primaries: Any) -> NDArray[np.float64]:
    """(..., 3) in [0, 1] of a screen with these primaries -> what shows the same colour on a usual one, of 255."""
    light = linear(values) @ np.array(primaries) @ np.linalg.inv(SRGB).T
    light = light.clip(0, 1)
    shown: NDArray[np.float64] = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return shown


@pytest.mark.parametrize("primaries", [DISPLAY_P3, BT_2020])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_colours_of_other_screens_are_converted(kind: str, primaries: Any) -> None:
    options: dict[str, Any] = {"quality": 95} if kind in {"JPEG", "WEBP", "AVIF"} else {}
    data = encoded(drawn(), kind, icc_profile=matrix_profile(primaries), **options)
    expected = in_srgb(picture(), primaries)
    assert np.abs(expected - 255 * picture()).mean() > 8
    assert difference(read_image(data), expected) < 5


def test_colours_that_a_phones_photo_or_a_png_names_by_number_are_converted() -> None:
    expected = in_srgb(picture(SIDE, SIDE), DISPLAY_P3)
    for data in (heic(colour_numbers=(12, 13)), heic(profile=matrix_profile(DISPLAY_P3))):
        assert difference(read_image(data), expected) < 6
    png = encoded(drawn(), "PNG")
    named = png[:33] + chunk(b"cICP", bytes((12, 13, 0, 1))) + png[33:]
    assert difference(read_image(named), in_srgb(picture(), DISPLAY_P3)) < 3


def test_transparent_grey_and_palette_pictures_keep_their_profiles() -> None:
    profile, white = matrix_profile(DISPLAY_P3), np.full((HEIGHT, WIDTH, 3), 255.0)
    expected = in_srgb(picture(), DISPLAY_P3)
    see_through = drawn().convert("RGBA")
    see_through.putalpha(128)
    blended = (expected * 128 + white * 127) / 255
    assert difference(read_image(encoded(see_through, "PNG", icc_profile=profile)), blended) < 3
    few = drawn().quantize(200)
    shown = in_srgb(np.asarray(few.convert("RGB")) / 255, DISPLAY_P3)
    assert difference(read_image(encoded(few, "PNG", icc_profile=profile)), shown) < 3


def test_a_profile_of_the_usual_colours_changes_no_pixel() -> None:
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (usual, matrix_profile(tuple(map(tuple, SRGB.T.tolist())))):
        for kind in ("JPEG", "PNG"):
            plain, named = (read_image(encoded(drawn(), kind, **options)) for options in ({}, {"icc_profile": profile}))
            assert np.array_equal(np.asarray(plain), np.asarray(named))


@pytest.mark.parametrize("profile", [b"no profile", matrix_profile(DISPLAY_P3)[:200], b"\0" * 3000])
def test_a_damaged_or_foreign_profile_is_left_alone(profile: bytes) -> None:
    for kind, mode in (("JPEG", "RGB"), ("PNG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK")):
        image = drawn().convert(mode)
        plain, named = (read_image(encoded(image, kind, **options)) for options in ({}, {"icc_profile": profile}))
        assert np.array_equal(np.asarray(plain), np.asarray(named))
    grey = drawn().convert("L")
    assert np.array_equal(
        np.asarray(read_image(encoded(grey, "JPEG", icc_profile=matrix_profile(DISPLAY_P3)))),
        np.asarray(read_image(encoded(grey, "JPEG"))),
    )


TYPES: list[tuple[str, float]] = [("u2", 65535), ("u4", 2**32 - 1), ("f4", 1.0), ("f8", 1.0), ("i2", 32767)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", ["strips", "tiles", "packed", "packed tiles", "predicted"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize(("kind", "full"), TYPES)
def test_samples_of_a_tiff_may_lie_in_any_way(kind: str, full: float, planar: bool, layout: str, order: str) -> None:
    packed = layout not in {"strips", "tiles"}
    options: dict[str, Any] = {"planar": planar, "order": order, "packed": packed}
    options |= {"tile": 32} if "tiles" in layout else {"rows": 20}
    options["predictor"] = layout == "predicted" and kind.startswith(("u", "i"))
    numbers = (picture() * full).astype(kind)
    assert difference(read_image(tiff(numbers, photometric=2, **options)), 255 * picture()) < 1.5
    covered = np.concatenate([numbers, np.full_like(numbers[..., :1], full)], axis=-1)
    assert difference(read_image(tiff(covered, photometric=2, extra=(2,), **options)), 255 * picture()) < 1.5


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "full"), [("u1", 255), *TYPES])
def test_grey_samples_of_a_tiff_may_be_white_at_zero_or_see_through(kind: str, full: float, order: str) -> None:
    values = picture()[..., :1]
    values = values / values.max()  # numbers without a known range are taken by the range that is used
    expected = np.repeat(255 * values, 3, axis=-1)
    grey = (values * full).astype(kind)
    covered = np.concatenate([grey, np.full_like(grey, full)], axis=-1)
    for planar in (False, True):
        assert (
            difference(read_image(tiff(covered, photometric=1, planar=planar, order=order, extra=(2,))), expected) < 2
        )
    for packed in (False, True):
        assert difference(read_image(tiff(grey, photometric=1, packed=packed, order=order)), expected) < 2
        inverted = (full - grey).astype(kind)
        assert difference(read_image(tiff(inverted, photometric=0, packed=packed, order=order)), expected) < 2


def test_inks_and_further_channels_of_a_tiff_are_read() -> None:
    inks = np.concatenate([1 - picture(), np.zeros((HEIGHT, WIDTH, 1))], axis=-1)
    colours = np.concatenate([picture(), picture()[..., :2]], axis=-1)
    for kind, full in (("u1", 255), ("u2", 65535)):
        for planar in (False, True):
            deep = (inks * full).round().astype(kind)
            assert difference(read_image(tiff(deep, photometric=5, planar=planar)), 255 * picture()) < 2
            deep = (colours * full).round().astype(kind)
            more = tiff(deep, photometric=2, planar=planar, extra=(0, 0))
            assert difference(read_image(more), 255 * picture()) < 2


def test_a_deep_tiff_is_turned_and_its_profile_used() -> None:
    profile = matrix_profile(DISPLAY_P3)
    numbers = (picture() * 65535).astype(np.uint16)
    data = tiff(numbers, photometric=2, planar=True, more={274: (8,), 34675: profile})
    assert difference(read_image(data), np.rot90(in_srgb(picture(), DISPLAY_P3))) < 3


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff((picture() * 99 - 50).astype(np.int16), photometric=2), "negative numbers"),
        (tiff(picture().astype(np.uint16), photometric=8), "photometric 8"),
        (tiff((picture() * 255).astype(np.uint8)[..., :2], photometric=6, more={530: (2, 2)}), "photometric 6"),
        (tiff((picture() * 255).astype(np.uint8), photometric=2, more={259: (34887,)}), "or of a rare kind"),
        (tiff((picture() * 255).astype(np.uint8), photometric=2, more={254: (1,), 330: (8, 8)}), "camera's raw file"),
        (tiff((picture() * 255).astype(np.uint8)[..., :1], photometric=32803), "or of a rare kind"),
        (b"FUJIFILMCCD-RAW 0201" + b"\0" * 99, "camera's raw file"),
        (b"\xff\x0a" + b"\0" * 99, "JPEG XL"),
        (b"8BPS\0\1" + b"\0" * 99, "Photoshop"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"\0\0\0\x14ftypqt  " + b"\0" * 99, "a video"),
    ],
)
def test_what_is_not_read_is_called_what_it_is(data: bytes, words: str) -> None:
    with pytest.raises((ImageUnreadable, NotAnImage), match=words) as e:
        read_image(data)
    assert "JPEG" in str(e.value) or "not a picture" in str(e.value)


def test_a_cameras_raw_file_says_what_to_do(tmp_path: Path) -> None:
    for name in ("a.RW2", "b.orf", "c.nef", "d.x3f"):
        (tmp_path / name).write_bytes(b"\x12\x34 something of a maker's own" * 9)
        assert may_be_image(tmp_path / name)
        with pytest.raises(NotAnImage, match=r"camera's raw file.*export it as JPEG"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 4}])
def test_a_jpeg_that_lacks_only_its_end_marker_is_the_same_picture(options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for image in (drawn(), Image.fromarray(noise), Image.new("RGB", (WIDTH, HEIGHT), "white")):
        data = encoded(image, "JPEG", **options)
        assert data.endswith(b"\xff\xd9")
        for whole in (data[:-2], data[:-1], data[:-2] + b"\0" * 500):
            for min_side in (None, 32):
                read, expected = (read_image(each, min_side=min_side) for each in (whole, data))
                assert np.array_equal(np.asarray(read), np.asarray(expected))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_a_jpeg_that_lacks_more_is_truncated(options: dict[str, Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for image in (drawn(200, 200), Image.fromarray(noise), Image.new("RGB", (400, 400), "white")):
        data = encoded(image, "JPEG", **options)
        for cut in [len(data) - n for n in (12, 20, 50)] + [len(data) * n // 20 for n in range(14, 20)]:
            for rest in (b"", b"\0" * 5000):
                with pytest.raises((ImageTruncated, ImageUnreadable)):
                    read_image(data[:cut] + rest)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_metadata_that_does_not_matter_never_refuses_a_photo() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "words " * 500_000, zip=True)
    png = encoded(drawn(), "PNG")
    damaged = chunk(b"tEXt", b"Comment\0words")[:-4] + b"\0\0\0\0"
    pictures = [
        encoded(drawn(), "PNG", pnginfo=texts),
        png[:33] + damaged + chunk(b"gAMA", b"\0") + png[33:],
        png[:33] + chunk(b"iCCP", b"name\0\7" + b"x" * 50) + chunk(b"pHYs", b"\0") + png[33:],
        png[:33] + chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(5_000_000))) + png[33:],
        bombs.png_with_texts(60),
    ]
    jpeg = encoded(drawn(), "JPEG")
    segments = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xE2: b"MPF\0II*\0\xff", 0xED: b"Photoshop 3.0\x008BIM\4\4\xff\xff"}
    for marker, start in segments.items():
        body = start + b"\xff\x01\0" * 20
        pictures.append(jpeg[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + jpeg[2:])
    for data in pictures[:4] + pictures[5:]:
        assert difference(read_image(data), 255 * picture()) < 4
    assert read_image(pictures[4]).size == (1, 1)
    assert difference(read_image(heic(exif=b"MM\0*\xff\xff" + b"x" * 50)), 255 * picture(SIDE, SIDE)) < 6


def test_an_orientation_in_a_pngs_text_still_counts() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="8"/>')
    texts.add_text("Comment", "words")
    assert read_image(encoded(drawn(), "PNG", pnginfo=texts)).size == (HEIGHT, WIDTH)


def test_a_limit_above_pillows_own_is_the_limit() -> None:
    data = bombs.png(60_000, 3_100, depth=1)
    with pytest.raises(ImageTooManyPixels, match="at most 100 megapixels"):
        read_image(data)
    assert read_image(data, max_megapixels=200, min_side=64).size == (60_000, 3_100)


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_MAX_MEGAPIXELS", "0.005")
    with pytest.raises(ImageTooManyPixels, match=r"\(0\.01 megapixels\); at most 0\.005"):
        read_image(encoded(drawn(), "PNG"))
    monkeypatch.setenv("HANDFUL_MAX_MEGAPIXELS", "1")
    monkeypatch.setenv("HANDFUL_MAX_IMAGE_MEGABYTES", "0.001")
    with pytest.raises(ImageError, match=r"at most 0\.001 MB"):
        read_image(encoded(drawn(), "PNG"))
