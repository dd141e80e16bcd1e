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
from handful.service.explain.tokens import signed_relevance, token_relevance
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


def test_a_network_that_keeps_no_places_is_refused_in_one_sentence() -> None:
    ours = network("levit_128s", img_size=64)
    with pytest.raises(ArtifactError, match="LevitDistilled does not keep"):
        layer_outputs(ours, picture(64))


TRANSFORMERS: list[tuple[str, dict[str, Any]]] = [
    (
        "vit_tiny_patch16_224",
        {"img_size": 64, "depth": 2, "embed_dim": 12, "num_heads": 3},
    ),  # goes on with a class token
    ("vit_small_patch16_dinov3", {"img_size": 64, "depth": 2, "embed_dim": 16, "num_heads": 2}),  # and four registers
    ("beit_base_patch16_224", {"img_size": 64, "depth": 2, "embed_dim": 12, "num_heads": 3}),  # the mean of the patches
]


@pytest.mark.parametrize(("architecture", "arguments"), TRANSFORMERS)
def test_a_patchs_relevance_is_what_the_logit_loses_without_it(architecture: str, arguments: dict[str, Any]) -> None:
    ours = network(architecture, **arguments)
    outputs = layer_outputs(ours, picture(64))
    assert outputs.grid == (4, 4)
    assert [stage.maps.shape[1:] for stage in outputs.stages] == [(4, 4)] * 2
    assert {stage.window for stage in outputs.stages} == {None}  # a patch can see the whole photo
    relevance, logit = signed_relevance(ours, picture(64), (4, 4), 1)
    assert ours.head is not None
    with torch.no_grad():
        assert logit == pytest.approx(
            float(ours.head(ours.backbone(picture(64)[None].to(ours.device)))[0, 1]), abs=1e-4
        )
    for row, column in ((0, 0), (1, 3), (3, 2)):
        lost = logit - logit_with_less(ours, row, column)
        assert 100 * lost == pytest.approx(float(relevance[row, column]), rel=0.1, abs=2e-3)
    shown = token_relevance(ours, picture(64), (4, 4), 1)
    assert shown.kind == "token relevance"
    assert np.array_equal(shown.values, relevance.relu().cpu().numpy())


def logit_with_less(of: Network, row: int, column: int) -> float:
    """Of the label 1, with one of 4 x 4 patches a hundredth smaller before the last block."""

    def smaller(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tokens = arguments[0].clone()
        tokens[0, tokens.shape[1] - 16 + 4 * row + column] *= 0.99
        return tokens, *arguments[1:]

    blocks: Any = of.backbone.blocks
    hook = blocks[-1].register_forward_pre_hook(smaller)
    assert of.head is not None
    with torch.no_grad():
        logit = float(of.head(of.backbone(picture(64)[None].to(of.device)))[0, 1])
    hook.remove()
    return logit


def test_a_transformer_with_a_map_of_channels_last_gets_the_same_map_as_a_resnet() -> None:
    sizes = {"embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2)}
    ours = network("swin_tiny_patch4_window7_224", img_size=64, window_size=2, **sizes)
    outputs = layer_outputs(ours, picture(64))
    result = activation_map(ours, outputs.features, 1)
    assert (result.kind, result.values.shape) == ("CAM", (8, 8))
    assert float(result.values.mean()) + result.bias == pytest.approx(result.logit, abs=1e-4)
    assert [stage.maps.shape for stage in outputs.stages] == [(12, 16, 16), (24, 8, 8)]


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
