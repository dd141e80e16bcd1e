"""The card's description of the input -> one deterministic transform -> `(3, S, S)` float32.

Numerically the same as timm's evaluation transform for the same configuration (a test holds
it to that), without importing torchvision: resize the short side, crop the middle, normalise.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from service.artifact.images import read_image


class Preprocessing(BaseModel):
    """What a network expects of its input; read from `pretrained_cfg`, never written in code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side_pixels: int = Field(gt=0, le=4096, description="S, the side of the network's square input")
    mean: tuple[float, float, float] = Field(description="per channel, of pixels in [0, 1]")
    std: tuple[float, float, float] = Field(description="per channel, of pixels in [0, 1]")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bicubic"
    crop_pct: float = Field(1.0, gt=0, le=1, description="share of the resized short side that is kept")
    crop_mode: Literal["center", "squash"] = "center"

    @classmethod
    def from_pretrained_cfg(cls, cfg: Mapping[str, Any]) -> Preprocessing:
        """From timm's `pretrained_cfg`; a channel count other than 3 is a ValueError."""
        channels, height, width = cfg["input_size"]
        if channels != 3 or height != width:
            raise ValueError(f"input_size is {tuple(cfg['input_size'])}; (3, S, S) is allowed")
        return cls(
            side_pixels=height,
            mean=tuple(cfg["mean"]),
            std=tuple(cfg["std"]),
            interpolation=cfg.get("interpolation") or "bicubic",
            crop_pct=cfg.get("crop_pct") or 1.0,
            crop_mode=cfg.get("crop_mode") or "center",
        )

    @property
    def min_decode_side(self) -> int:
        """JPEGs are never decoded smaller than this many pixels a side."""
        return 2 * self.side_pixels

    @property
    def sha256(self) -> str:
        """Changes with any field, and with this file's own version of the arithmetic."""
        return hashlib.sha256(json.dumps([1, self.model_dump(mode="json")]).encode()).hexdigest()

    def read(self, source: bytes | Path, **limits: float) -> Image.Image:
        """`read_image`, with a JPEG decoded no larger than this input needs."""
        return read_image(source, min_side=self.min_decode_side, **limits)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Upright RGB image -> `(3, S, S)` float32, normalised."""
        pixels = np.asarray(self.pixels(image), dtype=np.float32)  # (S, S, 3) in [0, 255]
        mean, std = (np.array(values, dtype=np.float32) for values in (self.mean, self.std))
        pixels = (pixels / np.float32(255) - mean) / std
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def pixels(self, image: Image.Image) -> Image.Image:
        """The `S x S` picture that the network looks at."""
        resample = Image.Resampling[self.interpolation.upper()]
        scaled = math.floor(self.side_pixels / self.crop_pct)
        if self.crop_mode == "squash":
            return _centre(image.resize((scaled, scaled), resample), self.side_pixels)
        image = _without_far_ends(image)
        short = min(image.size)
        width, height = (int(scaled * n / short) for n in image.size)
        return _centre(image.resize((width, height), resample), self.side_pixels)


def _without_far_ends(image: Image.Image, ratio: int = 8) -> Image.Image:
    """A strip is cut to 8:1 first: only its middle is used, and enlarged whole it could fill the memory."""
    long = ratio * min(image.size)
    if max(image.size) <= long:
        return image
    left, top = (max(0, (n - long) // 2) for n in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def _centre(image: Image.Image, side: int) -> Image.Image:
    left, top = (round((n - side) / 2) for n in image.size)
    return image.crop((left, top, left + side, top + side))
