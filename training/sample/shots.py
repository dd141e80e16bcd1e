"""Generated pictures of handbags and shoes, to try handful without photos and without a network.

Only the object tells the label. Sizes, formats and EXIF orientations are the same for both labels in
every block of `BLOCK` pictures; backgrounds, colours, light and props are drawn from the same
distributions. A picture depends only on seed, label and number, so a longer sample begins with the
shorter one.

    handful sample OUT --per-label 80
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import UsageError
from handful.training.sample import handbags, shoes
from handful.training.sample.materials import MaterialSet
from handful.training.sample.scenes import photograph
from handful.training.sample.sketch import Sketch
from PIL import Image

Drawing = Callable[[Sketch, MaterialSet, np.random.Generator], None]
KINDS: dict[str, tuple[Drawing, ...]] = {
    "handbags": (handbags.tote, handbags.satchel, handbags.clutch, handbags.bucket),
    "shoes": (shoes.sneaker, shoes.boot, shoes.pump, shoes.sandal),
}
BLOCK = 32  # pictures per label with a fixed number of each size, format and orientation, in random order
PHONE_SIZE = (4032, 3024)
THUMBNAILS = 2  # per block; one more picture per block is a phone photo
FORMATS = ("jpg",) * 22 + ("png",) * 5 + ("webp",) * 5
EXIF_ORIENTATION = 0x0112
# how upright pixels are stored so that the EXIF orientation makes them upright again
STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class Shot:
    """The plan of one picture, made before anything is drawn."""

    label: str
    number: int
    seed: int
    kind: int
    width: int  # pixels, upright
    height: int
    suffix: str
    quality: int
    orientation: int  # EXIF value; 1 is upright

    @property
    def name(self) -> str:
        return f"{self.label}/{self.number:04d}.{self.suffix}"


def shots(label: str, count: int, seed: int) -> list[Shot]:
    return [_shot(label, number, seed) for number in range(count)]


def _generator(label: str, number: int, seed: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, list(KINDS).index(label), number, purpose])


def _shot(label: str, number: int, seed: int) -> Shot:
    block, place = divmod(number, BLOCK)
    slot = int(_generator(label, block, seed, 0).permutation(BLOCK)[place])
    rng = _generator(label, number, seed, 1)
    width, height = _size(slot, block, rng)
    kind, quality = (slot + block) % 4, int(rng.integers(55, 97))
    return Shot(label, number, seed, kind, width, height, FORMATS[slot], quality, _orientation(slot, block))


def _size(slot: int, block: int, rng: np.random.Generator) -> tuple[int, int]:
    """Slot 0 is a phone photo, portrait in every second block; the last slots are thumbnails."""
    if slot == 0:
        return PHONE_SIZE if block % 2 else PHONE_SIZE[::-1]
    low, high = (48, 97) if slot >= BLOCK - THUMBNAILS else (200, 801)
    long = int(rng.integers(low, high))
    short = max(low, round(long * rng.choice([1.0, 1.0, 0.8, 0.75, 0.67])))
    return (long, short) if rng.random() < 0.5 else (short, long)


def _orientation(slot: int, block: int) -> int:
    """A portrait phone photo is stored on its side (6); slots 1 to 3 are rotated as well."""
    if slot == 0:
        return 1 if block % 2 else 6
    return (6, 8, 3)[slot - 1] if slot <= 3 else 1


def _encoded(shot: Shot) -> bytes:
    rng = _generator(shot.label, shot.number, shot.seed, 2)
    picture = photograph(KINDS[shot.label][shot.kind], (shot.width, shot.height), rng)
    file = io.BytesIO()
    if shot.suffix == "png":
        picture.save(file, "PNG", compress_level=3)
    elif shot.suffix == "webp":
        picture.save(file, "WEBP", quality=shot.quality, method=2)
    else:
        _save_jpeg(picture, file, shot)
    return file.getvalue()


def _save_jpeg(picture: Image.Image, file: io.BytesIO, shot: Shot) -> None:
    if shot.orientation == 1:
        picture.save(file, "JPEG", quality=shot.quality)
        return
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = shot.orientation
    picture.transpose(STORED[shot.orientation]).save(file, "JPEG", quality=shot.quality, exif=exif)


def write_sample(out: Path, per_label: int = 80, seed: int = 0, progress: Callable[[int], None] | None = None) -> Path:
    """Writes OUT/handbags and OUT/shoes, or nothing at all; `progress` is called with 1 after each picture.

    Raises `UsageError` for numbers out of range and for a place that cannot be written or is not empty.
    """
    out = out.resolve()
    _check(out, per_label, seed)
    staging = out.with_name(f".{out.name}-{os.getpid()}")
    try:
        for label in KINDS:
            (staging / label).mkdir(parents=True)
        _write_all([shot for label in KINDS for shot in shots(label, per_label, seed)], staging, progress)
        if out.exists():
            out.rmdir()
        staging.rename(out)
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror or error}); a writable place is needed") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out


def _check(out: Path, per_label: int, seed: int) -> None:
    if per_label < 1:
        raise UsageError(f"per_label is {per_label}; allowed is 1 or more")
    if seed < 0:
        raise UsageError(f"seed is {seed}; allowed is 0 or more")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; allowed is a new or empty folder")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; allowed is a new or empty folder")


def _write_all(plan: list[Shot], folder: Path, progress: Callable[[int], None] | None) -> None:
    def write(shot: Shot) -> None:
        (folder / shot.name).write_bytes(_encoded(shot))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        tasks = [pool.submit(write, shot) for shot in plan]
        try:
            for task in as_completed(tasks):
                task.result()
                if progress is not None:
                    progress(1)
        finally:
            pool.shutdown(cancel_futures=True)
