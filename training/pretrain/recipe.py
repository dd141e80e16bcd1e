"""The settings of a pretraining run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PretrainRecipe(BaseModel):
    """Everything that decides the result of a run; stored in its folder as `recipe.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["resnet18", "resnet50"] = Field(
        "resnet50", description="which blocks: of two convolutions (resnet18) or three (resnet50)"
    )
    channels: tuple[int, ...] = (24, 48, 96, 176)
    layers: tuple[int, ...] = (2, 3, 5, 2)
    attention: Literal["se", "eca"] | None = Field("se", description="channel attention of each block, timm's name")
    stem_width: int = 16
    view_pixels: int = Field(144, description="side of a stored view, and the teacher's input")
    views: tuple[int, ...] = Field((1,), description="crops per picture, one number per file")
    min_scale: tuple[float, ...] = Field(
        (0.3,), description="smallest crop, as a share of the picture's area, per file"
    )
    copy_paste: int = Field(
        0, ge=0, description="views per picture of the first file with an object pasted on another picture"
    )
    on_texture: float = Field(
        0.0, ge=0, le=1, description="share of pasted objects on a small crop, such as a floor or a fabric"
    )
    mined_by_label: int = Field(
        0, ge=0, description="more views of the last file's pictures whose label resembles `mining_sources`"
    )
    mined_by_picture: int = Field(
        0, ge=0, description="more views of the pictures most similar to each of `mining_sources`"
    )
    mining_sources: tuple[str, ...] = Field(
        (), description="sources (of a pack, or a folder's labels) in the first file that matter most"
    )
    target_dims: int = Field(256, description="principal components of the teacher kept")
    sizes: tuple[int, ...] = Field((96, 112, 128), description="student input, in equal parts")
    epochs: int = Field(10, ge=1)
    share: float = Field(1.0, gt=0, le=1, description="share of all views drawn in one epoch")
    batch: int = 128
    data_parallel: int = Field(
        1, ge=1, description="shards of a batch computed at the same time, each with its share of the cores"
    )
    optimizer: Literal["nmuon", "adamw"] = Field("nmuon", description="timm's name of it")
    learning_rate: float = 0.012
    weight_decay: float = 0.05
    warmup_steps: int = 300
    label_weight: float = Field(0.1, description="weight of the label loss; the imitation of the teacher has the rest")
    ema_decay: float = 0.998
    mean_of: int = Field(1, ge=1, description="number of last epochs whose averaged weights are averaged again")
    colour: float = Field(0.25, description="half width of brightness, contrast and hue gains")
    sharpness: float = Field(0.0, ge=0, description="half width of sharpening; negative values blur")
    erase: float = Field(0.2, description="share of student views with one rectangle erased")
    use_pixels: int = Field(128, description="input side written into config.json")
    seed: int = 0
