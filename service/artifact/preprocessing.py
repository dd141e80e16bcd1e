"""The card's description of the input -> one deterministic transform -> `(3, S, S)` float32.

Numerically the same as timm's evaluation transform for the same configuration, as a test checks, but without
torchvision: resize the short side, crop the middle, normalise.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from handful.service.artifact.checks import MAX_SIDE, MIN_CROP, check_input
from handful.service.artifact.images import from_pillow, read_image
from handful.service.artifact.remote import RemoteFile
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor  # the processes that only decode do without torch, which is 200 MB and seconds

# of a photo: a file's bytes, a file, one at an address, or an image that is already open
Source = bytes | Path | RemoteFile | Image.Image
FAR_ENDS = 8  # a strip longer than so many times its short side is used without its ends
TEN_VIEWS_ZOOM = 256 / 224  # the short side divided by S when an image is classified in ten views


class Preprocessing(BaseModel):
    """The input that a network expects; read from `pretrained_cfg`, never written in code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side_pixels: int = Field(gt=0, le=MAX_SIDE, description="S, the side of the network's square input")
    mean: tuple[float, float, float] = Field(description="per channel, of pixels in [0, 1]")
    std: tuple[float, float, float] = Field(description="per channel, of pixels in [0, 1]")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bicubic"
    crop_pct: float = Field(1.0, ge=MIN_CROP, le=1, description="share of the resized short side that is kept")
    crop_mode: Literal["center", "squash"] = "center"

    @classmethod
    def from_pretrained_cfg(cls, cfg: Mapping[str, Any]) -> Preprocessing:
        """Reads timm's `pretrained_cfg`. Raises ValueError for an input that `check_input` does not allow."""
        check_input(cfg)
        return cls(
            side_pixels=cfg["input_size"][1],
            mean=tuple(cfg["mean"]),
            std=tuple(cfg["std"]),
            interpolation=cfg.get("interpolation") or "bicubic",
            crop_pct=cfg.get("crop_pct") or 1.0,
            crop_mode=cfg.get("crop_mode") or "center",
        )

    @property
    def min_decode_side(self) -> int:
        """JPEGs are never decoded with a side of fewer pixels than this."""
        return 2 * self.side_pixels

    @property
    def sha256(self) -> str:
        """Changes with any field, and with the version number of reading and arithmetic."""
        return hashlib.sha256(json.dumps([2, self.model_dump(mode="json")]).encode()).hexdigest()

    def read(self, source: Source) -> Image.Image:
        """As `read_image`, with JPEGs decoded no larger than this input needs."""
        if isinstance(source, Image.Image):
            return from_pillow(source)
        return read_image(source, min_side=self.min_decode_side)

    def __call__(self, image: Image.Image) -> Tensor:
        """Upright RGB image -> `(3, S, S)` float32, normalised."""
        return self.normalised(self.pixels(image))

    def ten_views(self, image: Image.Image) -> Tensor:
        """Corners and middle of the photo's central square, and their mirror images, `(10, 3, S, S)` float32.

        Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks": S is 224 of 256.
        """
        short = max(math.ceil(self.side_pixels * TEN_VIEWS_ZOOM), self.short_side)
        square = _centre(self.resized(image, short), short)
        far = short - self.side_pixels
        views = [
            square.crop((left, top, left + self.side_pixels, top + self.side_pixels))
            for left, top in ((0, 0), (far, 0), (0, far), (far, far), (round(far / 2), round(far / 2)))
        ]
        mirrored = [view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for view in views]
        return stacked([self.normalised(view) for view in views + mirrored])

    def pixels(self, image: Image.Image) -> Image.Image:
        """The `S x S` picture that the network sees."""
        return _centre(self.resized(image), self.side_pixels)

    def resized(self, image: Image.Image, short: int | None = None) -> Image.Image:
        """The image before the crop, its short side `short` pixels; by default as `pixels` needs it."""
        short = short or self.short_side
        resample = Image.Resampling[self.interpolation.upper()]
        if self.crop_mode == "squash":
            return image.resize((short, short), resample)
        middle = _without_far_ends(image.size)
        if middle != (0, 0, *image.size):
            image = image.crop(middle)
        return image.resize(_scaled(image.size, short), resample)

    def normalised(self, pixels: Image.Image | NDArray[np.uint8]) -> Tensor:
        """An `S x S` picture -> `(3, S, S)` float32, channels last in memory."""
        import torch

        return torch.from_numpy(self.values(pixels)).permute(2, 0, 1)

    def values(self, pixels: Image.Image | NDArray[np.uint8]) -> NDArray[np.float32]:
        """An `S x S` picture -> `(S, S, 3)` float32, the numbers of `normalised` as they lie in memory."""
        values = np.asarray(pixels, dtype=np.float32)  # (S, S, 3) in [0, 255]
        rows = values.reshape(len(values), -1)  # whole rows at once: three numbers at a time would be slow
        mean, std = (np.tile(np.array(numbers, np.float32), values.shape[1]) for numbers in (self.mean, self.std))
        rows /= np.float32(255)
        rows -= mean
        rows /= std
        return values

    def picture(self, pixels: Tensor) -> Image.Image:
        """The inverse of `normalised`."""
        values = pixels.permute(1, 2, 0).numpy().astype(np.float64) * np.array(self.std) + np.array(self.mean)
        return Image.fromarray((255 * values).round().clip(0, 255).astype(np.uint8))

    def seen(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part of an image of that (width, height) that `pixels` shows: left, top, right, bottom, in its pixels."""
        box = (0, 0, *size) if self.crop_mode == "squash" else _without_far_ends(size)
        kept = (box[2] - box[0], box[3] - box[1])
        resized = (self.short_side, self.short_side) if self.crop_mode == "squash" else _scaled(kept, self.short_side)
        left, top = (
            corner + round((n - self.side_pixels) / 2) * whole / n
            for corner, whole, n in zip(box[:2], kept, resized, strict=True)
        )
        width, height = (self.side_pixels * whole / n for whole, n in zip(kept, resized, strict=True))
        return left, top, left + width, top + height

    @property
    def short_side(self) -> int:
        """Pixels of the resized image's short side, before the crop."""
        return math.floor(self.side_pixels / self.crop_pct)


def stacked(images: Sequence[Tensor]) -> Tensor:
    """N tensors `(..., 3, S, S)` -> one `(N, ..., 3, S, S)`, channels last in memory."""
    import torch

    return torch.stack([image.movedim(-3, -1) for image in images]).movedim(-1, -3)


def _without_far_ends(size: tuple[int, int], ratio: int = FAR_ENDS) -> tuple[int, int, int, int]:
    """The middle of a long strip, at most 8:1. Nothing else is used, and enlarging all of it could fill the memory."""
    width, height = size
    left, top = (max(0, (n - ratio * min(size)) // 2) for n in size)
    return left, top, width - left, height - top


def _scaled(size: tuple[int, int], short: int) -> tuple[int, int]:
    width, height = (int(short * n / min(size)) for n in size)
    return width, height


def _centre(image: Image.Image, side: int) -> Image.Image:
    left, top = (round((n - side) / 2) for n in image.size)
    return image.crop((left, top, left + side, top + side))
