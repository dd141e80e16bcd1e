"""The measured networks: timm's ResNets with random weights, as local folders in the Hub's format.

Speed does not depend on the weights, and no access to the Hub is needed.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bench import CACHE


def backbone_folder(architecture: str = "resnet18", side_pixels: int = 224) -> Path:
    """A folder for `--backbone`, and for timm's `local-dir:`."""
    folder = CACHE / "networks" / f"{architecture}-{side_pixels}"
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        described = {
            "input_size": (3, side_pixels, side_pixels),
            "crop_pct": 0.95,
            "first_conv": "conv1",
            "classifier": "fc",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "license": "apache-2.0",
        }
        network = timm.create_model(architecture, num_classes=2, pretrained_cfg=described, zero_init_last=False)
        save_for_hf(network, str(folder), safe_serialization=True)
    return folder


def random_backbone(architecture: str) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(architecture, num_classes=0)
    return network.eval().requires_grad_(requires_grad=False)


def flops(network: nn.Module, side_pixels: int) -> int:
    """Floating-point operations for one image; a multiply-add counts as two."""
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, side_pixels, side_pixels, device=device))
    return int(counter.get_total_flops())


def pixels(images: int, side_pixels: int) -> Tensor:
    """`(N, 3, S, S)` float32 noise."""
    return torch.randn(images, 3, side_pixels, side_pixels, generator=torch.Generator().manual_seed(0))
