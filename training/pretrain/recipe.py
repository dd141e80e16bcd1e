"""Recipe: everything that decides what a pretraining run gives."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """Everything that decides the result; written beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = "resnet18"
    channels: tuple[int, ...] = (32, 64, 128, 256)
    layers: tuple[int, ...] = (2, 2, 2, 2)
    stem_width: int = 16
    view_pixels: int = Field(144, description="side of a stored view, and the teacher's input")
    views: tuple[int, ...] = Field((1,), description="crops per picture, one number per file")
    min_scale: tuple[float, ...] = Field(
        (0.3,), description="smallest crop, as a share of the picture's area, per file"
    )
    composed: int = Field(0, ge=0, description="views per picture of the first file with an object pasted on another")
    target_dims: int = Field(256, description="principal components of the teacher kept")
    sizes: tuple[int, ...] = Field((96, 112, 128), description="student input, in equal parts")
    epochs: int = 10
    share: float = Field(1.0, gt=0, le=1, description="share of all views drawn in one epoch")
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 500
    label_weight: float = Field(0.1, description="share of the label loss beside the teacher's")
    ema_decay: float = 0.998
    colour: float = Field(0.25, description="half width of brightness, contrast and hue gains")
    sharpness: float = Field(0.0, ge=0, description="half width of sharpening; below zero it blurs")
    erase: float = Field(0.2, description="share of student views with one rectangle erased")
    blend: float = Field(1.0, ge=0, le=1, description="share of the way from --start's weights to those trained")
    use_pixels: int = Field(128, description="input side written into config.json")
    seed: int = 0
