"""The student network, and its export as a backbone in the Hub's folder format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
from handful.training.pretrain.recipe import PretrainRecipe
from safetensors.torch import save_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn


class Student(nn.Module):
    """The backbone with two linear layers that are dropped after training: a projection and a classifier."""

    def __init__(self, recipe: PretrainRecipe, labels: int, dims: int) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            recipe.architecture, pretrained=False, num_classes=0, **architecture_arguments(recipe)
        )
        features = int(self.backbone.num_features)  # type: ignore[arg-type]  # timm's own attribute
        self.projection = nn.Linear(features, dims)
        self.classifier = nn.Linear(features, max(labels, 1))

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.backbone(batch)  # (N, D)
        return self.projection(embedding), self.classifier(embedding)


def architecture_arguments(recipe: PretrainRecipe) -> dict[str, Any]:
    """The arguments with which timm builds the same network again, apart from the architecture's name."""
    return {
        "channels": recipe.channels,
        "layers": recipe.layers,
        "stem_width": recipe.stem_width,
        "stem_type": "deep",
        "avg_down": True,
        "block_args": {"attn_layer": recipe.attention} if recipe.attention else {},
    }


def export_student(student: nn.Module, recipe: PretrainRecipe, folder: Path) -> None:
    """Writes the backbone alone, in float16, as `model.safetensors` and `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone: nn.Module = student.backbone  # type: ignore[assignment]
    weights = {k: v.half() if v.is_floating_point() else v for k, v in backbone.state_dict().items()}
    save_file({k: v.contiguous().cpu() for k, v in weights.items()}, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    config = {
        "architecture": recipe.architecture,
        "num_classes": 0,
        "num_features": backbone.num_features,
        "model_args": architecture_arguments(recipe),
        "pretrained_cfg": {
            "tag": "handful",
            "custom_load": False,
            "input_size": [3, recipe.use_pixels, recipe.use_pixels],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(IMAGENET_DEFAULT_MEAN),
            "std": list(IMAGENET_DEFAULT_STD),
            "num_classes": 0,
            "first_conv": "conv1.0",
            "classifier": "fc",
            "license": "apache-2.0",
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
