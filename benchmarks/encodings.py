"""The same pictures in many encodings: format, mode, depth, orientation, profile. They should get the same answers."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from handful.service.artifact.formats.primaries import BT_2020, DISPLAY_P3, matrix_profile
from handful.service.artifact.images import read_image
from handful.service.compute.device import cpu_count
from PIL import Image, ImageCms

from benchmarks import photos
from benchmarks.bench import HERE, Bench
from benchmarks.sections import Section, judged
from benchmarks.timing import table

LONG_SIDE = 640  # pixels; larger photos are made smaller first, so that the files are quick to write
PER_LABEL = 120
SAME = 0.995
REFERENCE, GREY = "PNG", "PNG grey"
FEW_COLOURS = "256 colours, dithered"
Encode = Callable[[Image.Image], bytes]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def as_saved(kind: str, mode: str = "RGB", **options: Any) -> Encode:
    return lambda image: saved(image.convert(mode), kind, **options)


def turned(kind: str, orientation: int, turn: Image.Transpose, **options: Any) -> Encode:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda image: saved(image.transpose(turn), kind, exif=exif, **options)


def of_another_screen(kind: str, primaries: Any, **options: Any) -> Encode:
    """The same colours by other numbers, with the profile that says so."""
    profile = matrix_profile(primaries)
    usual, other = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile))
    there = ImageCms.buildTransform(usual, other, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)

    def encode(image: Image.Image) -> bytes:
        converted = image.copy()
        ImageCms.applyTransform(converted, there, inPlace=True)
        return saved(converted, kind, icc_profile=profile, **options)

    return encode


def deep(kind: str, full: float, **options: Any) -> Encode:
    """A TIFF that Pillow does not write."""
    sys.path.append(str(HERE.parent / "tests"))
    tiff = importlib.import_module("tiffs").tiff

    def encode(image: Image.Image) -> bytes:
        values = np.atleast_3d(np.asarray(image)).astype(np.float64) / 255
        written: bytes = tiff((values * full).round(0 if full > 1 else 6).astype(kind), **options)
        return written

    return encode


def grey(encode: Encode) -> Encode:
    return lambda image: encode(image.convert("L"))


def covered(encode: Encode) -> Encode:
    def encoded(image: Image.Image) -> bytes:
        image = image.copy()
        image.putalpha(255)
        return encode(image)

    return encoded


def sixteen_bits(kind: str) -> Encode:
    return lambda image: saved(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), kind)


def without_end(image: Image.Image) -> bytes:
    return saved(image, "JPEG", quality=95)[:-2]


def encodings() -> dict[str, tuple[str, Encode]]:
    """Name -> ending and encoder. Those of grey pictures are compared with the grey reference."""
    fine: dict[str, Any] = {"quality": 95}
    rotated, flipped = Image.Transpose.ROTATE_90, Image.Transpose.FLIP_TOP_BOTTOM
    found: dict[str, tuple[str, Encode]] = {
        REFERENCE: ("png", as_saved("PNG")),
        "PNG, transparency": ("png", covered(lambda image: saved(image, "PNG"))),
        "JPEG": ("jpg", as_saved("JPEG", **fine)),
        "JPEG, quality 75": ("jpg", as_saved("JPEG")),
        "JPEG, progressive, 4:4:4": ("jpg", as_saved("JPEG", progressive=True, subsampling=0, **fine)),
        "JPEG, turned": ("jpg", turned("JPEG", 6, rotated, **fine)),
        "JPEG, CMYK": ("jpg", as_saved("JPEG", "CMYK", **fine)),
        "JPEG, Display P3": ("jpg", of_another_screen("JPEG", DISPLAY_P3, **fine)),
        "JPEG, no end marker": ("jpg", without_end),
        "PNG, BT.2020": ("png", of_another_screen("PNG", BT_2020)),
        "WebP": ("webp", as_saved("WEBP", **fine)),
        "WebP, lossless, turned": ("webp", turned("WEBP", 4, flipped, lossless=True, method=0)),
        "BMP": ("bmp", as_saved("BMP")),
        "TIFF, LZW": ("tif", as_saved("TIFF", compression="tiff_lzw")),
        "TIFF, CMYK": ("tif", as_saved("TIFF", "CMYK")),
        "TIFF, JPEG": ("tif", as_saved("TIFF", compression="jpeg", quality=95)),
        "TIFF, 16 bits, planes": ("tif", deep("u2", 65535, photometric=2, planar=True)),
        "TIFF, floats, big-endian": ("tif", deep("f4", 1.0, photometric=2, order=">", packed=True)),
        "AVIF": ("avif", as_saved("AVIF", speed=9, **fine)),
        "AVIF, Display P3, named .jpg": ("jpg", of_another_screen("AVIF", DISPLAY_P3, speed=9, **fine)),
        f"GIF, {FEW_COLOURS}": ("gif", as_saved("GIF")),
        GREY: ("png", grey(as_saved("PNG", "L"))),
        "PNG grey, 16 bits": ("png", sixteen_bits("PNG")),
        "PNG grey, transparency": ("png", grey(as_saved("PNG", "LA"))),
        "JPEG grey": ("jpg", grey(as_saved("JPEG", "L", **fine))),
        "TIFF grey, 16 bits": ("tif", sixteen_bits("TIFF")),
        "TIFF grey, white at 0": ("tif", lambda i: deep("u2", 65535, photometric=0)(Image.eval(i.convert("L"), _not))),
    }
    if heif := _heif_encoder():
        found |= {
            "HEIC": ("heic", heif),
            "HEIC, Display P3": ("heic", of_another_screen("HEIF", DISPLAY_P3, quality=90)),
        }
    return found


def _not(value: float) -> float:
    return 255 - value


def _heif_encoder() -> Encode | None:
    """Where pillow-heif is at hand, which handful does not bring: its encoder is under the GPL."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return None
    return as_saved("HEIF", quality=90)


def pictures(bench: Bench) -> Iterator[tuple[str, Image.Image]]:
    for label in sorted(path for path in photos.source(bench).iterdir() if path.is_dir()):
        for number, path in enumerate(photos.files_below(label)[: 4 if bench.quick else PER_LABEL]):
            image = read_image(path)
            image.thumbnail((LONG_SIDE, LONG_SIDE))
            yield f"{label.name}-{number:03}", image


def write(bench: Bench, kinds: dict[str, tuple[str, Encode]]) -> tuple[Path, dict[str, tuple[str, str]]]:
    """The folder, and for each file in it the picture and the encoding."""
    folder, files = bench.scratch("encodings"), dict[str, tuple[str, str]]()
    for picture, image in pictures(bench):
        for number, (kind, (ending, encode)) in enumerate(kinds.items()):
            name = f"{picture}-{number:02}.{ending}"
            (folder / name).write_bytes(encode(image))
            files[name] = picture, kind
    return folder, files


def run(bench: Bench) -> Section:
    """Target: the same label as the lossless PNG for 99.5 % of the files."""
    train, _ = photos.train_and_test(bench)
    bench.handful("train", train, "--name", "encodings", "--backbone", "builtin")
    kinds = encodings()
    folder, files = write(bench, kinds)
    out = bench.scratch("encodings-out") / "rows.jsonl"
    bench.handful("classify", folder, "--out", str(out), "--model", "encodings")
    rows = {row["path"]: row for row in map(json.loads, out.read_text(encoding="utf-8").splitlines())}
    return _section(kinds, files, {files[name]: row for name, row in rows.items()})


def _section(
    kinds: dict[str, tuple[str, Encode]],
    files: dict[str, tuple[str, str]],
    answers: dict[tuple[str, str], dict[str, Any]],
) -> Section:
    total, other, unread, surest = Counter[str](), Counter[str](), Counter[str](), dict[str, float]()
    for picture, kind in files.values():
        row = answers[picture, kind]
        reference = answers[picture, GREY if "grey" in kind else REFERENCE]
        total[kind] += 1
        unread[kind] += bool(row["error"])
        if not row["error"] and row["label"] != reference["label"]:
            other[kind] += 1
            surest[kind] = max(surest.get(kind, 0.0), reference["confidence"])
    rows = [
        [kind, total[kind], unread[kind], other[kind], f"{surest[kind]:.0%}" if kind in surest else ""]
        for kind in kinds
    ]
    compared = sum(total[kind] for kind in kinds if kind not in {REFERENCE, GREY})
    share = 1 - (other.total() + unread.total()) / compared
    target = judged(
        "one picture, many encodings",
        f"{SAME:.1%} the same label",
        f"{share:.2%} of {compared:,}",
        reached=share >= SAME,
        why="pictures on the edge between two answers, which the losses of the encoding move over it",
    )
    heading = ["encoding", "files", "not read", "another label", "probability of the reference at most"]
    return Section(title="Encodings", text=f"{table(heading, rows)}\n\n{cpu_count()} cores.", targets=[target])
