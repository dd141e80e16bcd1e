"""The class activation map adds up to the logit, and lies where its evidence lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from handful.service.artifact.errors import ArtifactError
from handful.service.compute.network import Network, build_head
from handful.service.explain.activation import activation_map, upsampled
from handful.service.explain.stages import layer_outputs, strongest_maps
from tiny_networks import TINY
from torch import Tensor, nn


def network(architecture: str, **arguments: Any) -> Network:
    torch.manual_seed(0)
    backbone: nn.Module = timm.create_model(architecture, num_classes=0, **arguments)
    width = int(backbone.num_features)  # type: ignore[arg-type]  # timm's
    return Network(backbone, build_head("linear", {"weight": torch.randn(3, width), "bias": torch.randn(3)}))


def hidden(of: Network) -> Network:
    width = int(of.backbone.num_features)  # type: ignore[arg-type]  # timm's
    weights = {"hidden.weight": torch.randn(5, width), "hidden.bias": torch.randn(5)}
    return Network(of.backbone, build_head("hidden", {**weights, "weight": torch.randn(3, 5), "bias": torch.randn(3)}))


def picture(side: int = 96) -> Tensor:
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(1))


NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("resnet18", TINY),
    ("resnet50", {**TINY, "stem_type": "deep", "stem_width": 4, "avg_down": True}),
    ("densenet121", {"growth_rate": 4, "block_config": (1, 1, 1, 1)}),
]


@pytest.mark.parametrize(("architecture", "arguments"), NETWORKS)
@pytest.mark.parametrize("label", [0, 2])
def test_the_mean_of_the_map_and_the_bias_are_the_logit(
    architecture: str, arguments: dict[str, Any], label: int
) -> None:
    ours = network(architecture, **arguments)
    outputs = layer_outputs(ours, picture())
    result = activation_map(ours, outputs.features, label)
    assert ours.head is not None
    with torch.no_grad():
        logit = float(ours.head(ours.backbone(picture()[None].to(ours.device)))[0, label])
    assert result.kind == "CAM"
    assert result.values.shape == (3, 3)
    assert result.logit == pytest.approx(logit, abs=1e-4)
    assert float(result.values.mean()) + result.bias == pytest.approx(logit, abs=1e-4)
    assert [stage.window is not None for stage in outputs.stages] == [True] * 5


def test_a_hidden_head_gets_a_map_that_says_it_is_an_estimate() -> None:
    ours = hidden(network("resnet18", **TINY))
    result = activation_map(ours, layer_outputs(ours, picture()).features, 1)
    assert result.kind == "Grad-CAM"
    assert result.values.min() >= 0


def test_a_network_without_a_map_is_refused_in_one_sentence() -> None:
    ours = network("vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=12, num_heads=3)
    with pytest.raises(ArtifactError, match="VisionTransformer keeps no map"):
        layer_outputs(ours, picture(32))


def test_the_map_is_laid_evenly_over_the_input() -> None:
    values = np.zeros((2, 4), dtype=np.float32)
    values[1, 3] = 1
    laid = upsampled(values, 32)
    assert laid.shape == (32, 32)
    assert laid[31, 31] == 1
    assert laid[16:, 24:].mean() > 0.7
    assert laid[:8].max() == 0
    assert laid[:, :20].max() == 0


def test_the_strongest_maps_do_not_repeat_each_other() -> None:
    random = np.random.default_rng(0)
    base = random.normal(size=(2, 8, 8)).astype(np.float32)
    maps = np.stack([base[0], 2 * base[0], -3 * base[0], base[1], np.ones((8, 8), np.float32)])
    assert strongest_maps(maps, 4) == [2, 3]
