"""A decoded picture of any mode, depth and colour profile -> RGB in sRGB."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

BAND_PIXELS = 1 << 18  # converted to RGB at once, so that only the picture itself is in memory twice
SAME_COLOURS = 5  # of 255: profiles called sRGB differ by up to 2, the next wider ones in use by more than 20
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # the colours of a profile that fits a mode
_MAX_PROFILE_BYTES = 4_000_000  # printers' profiles have up to 3 MB
_STEPS = np.linspace(0, 255, 9).astype(np.uint8)

Box = tuple[int, int, int, int]


def to_srgb(image: Image.Image) -> Image.Image:
    """In bands of rows, so that a large picture is not in memory several times; transparent pixels become white."""
    profile = _profile(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        conversion = _conversion(profile, "RGB") if profile else None
        if conversion is not None:
            ImageCms.applyTransform(image, conversion, inPlace=True)
        return image
    bands = list(bands_of(image.size))
    highest = max(_numbers(image.crop(band)).max(initial=0.0) for band in bands) if _is_deep(image) else 0.0
    if len(bands) == 1:
        return _rgb_band(image, highest, profile)
    rgb = Image.new("RGB", image.size)
    for band in bands:
        rgb.paste(_rgb_band(image.crop(band), highest, profile), band)
    return rgb


def eight_bits(values: NDArray[np.float64], highest: float, *, scale: float | None = None) -> NDArray[np.uint8]:
    """Numbers of more than eight bits by the range that the whole picture uses, unless a `scale` is known."""
    if scale is None:
        scale = 1.0 if highest <= 255 else 1 / 257 if highest <= 65535 else 255 / highest
    return (values * scale).round().clip(0, 255).astype(np.uint8)


def _profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and 0 < len(profile) <= _MAX_PROFILE_BYTES else None


def bands_of(size: tuple[int, int]) -> Iterator[Box]:
    """Boxes of whole rows, from the top."""
    width, height = size
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _rgb_band(image: Image.Image, highest: float, profile: bytes | None) -> Image.Image:
    if _is_deep(image):
        return _converted(_eight_bits(image, highest), profile)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        if profile is None:
            white.paste(rgba, mask=rgba.getchannel("A"))
        else:
            opaque = image.convert("L") if image.mode in {"LA", "La", "L"} else rgba.convert("RGB")
            white.paste(_converted(opaque, profile), mask=rgba.getchannel("A"))
        return white
    return _converted(image.convert("RGB") if image.mode in {"P", "PA"} else image, profile)


def _converted(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Of a mode without transparency; a profile that does not fit the picture's mode is not for its pixels."""
    if profile is not None and image.mode in _SPACES:
        conversion = _conversion(profile, image.mode)
        if conversion is not None:
            return ImageCms.applyTransform(image, conversion) or image
    return image.convert("RGB")


@lru_cache(maxsize=32)
def _conversion(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None where they are sRGB's, where it is damaged or does not fit the mode."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space != _SPACES[mode]:
            return None
        conversion = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None
    return None if mode != "CMYK" and _changes_nothing(conversion, mode) else conversion


def _changes_nothing(conversion: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode == "L":
        sample = Image.fromarray(_STEPS[None])
    else:
        red, green, blue = np.meshgrid(_STEPS, _STEPS, _STEPS)
        sample = Image.fromarray(np.stack([red, green, blue], axis=-1).reshape(1, -1, 3))
    after = ImageCms.applyTransform(sample, conversion)
    before = np.asarray(sample.convert("RGB")).astype(int)
    return after is not None and int(np.abs(np.asarray(after) - before).max()) <= SAME_COLOURS


def _eight_bits(image: Image.Image, highest: float) -> Image.Image:
    """16-bit grey is divided by 257; 32-bit integers and floats are scaled by the range that the whole image uses."""
    scale = None
    if image.mode == "F" and highest <= 1.0:
        scale = 255.0
    elif image.mode.startswith("I;16"):
        scale = 1 / 257
    return Image.fromarray(eight_bits(_numbers(image), highest, scale=scale))


def _numbers(image: Image.Image) -> NDArray[np.float64]:
    """A 16-bit or 32-bit image's values; what is no number counts as 0."""
    return np.nan_to_num(np.asarray(image).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
