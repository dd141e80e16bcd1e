"""The outputs of the backbone's layers on one photo: first layer, stages, features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from handful.service.artifact.errors import ArtifactError
from handful.service.compute.network import Network
from handful.service.explain.receptive import ReceptiveFields, Window
from handful.service.explain.tokens import as_map, has_tokens, patch_grid
from numpy.typing import NDArray
from torch import Tensor, nn

MOST_STAGES = 6
ALIKE = 0.8  # maps with a higher correlation look the same to a person


@dataclass(frozen=True)
class Stage:
    """A part of the backbone whose maps have one size; `window` is None if no receptive field is known."""

    name: str  # of the module
    maps: NDArray[np.float32]  # (C, h, w)
    window: Window | None


@dataclass(frozen=True)
class FirstLayer:
    """The filters of the first convolution, the only ones that are pictures, and their responses to the photo."""

    filters: NDArray[np.float32]  # (F, 3, k, k)
    responses: NDArray[np.float32]  # (F, h, w)


@dataclass(frozen=True)
class LayerOutputs:
    """The outputs of one forward pass.

    `features` are (1, C, h, w), whose mean is usually the embedding, or in some transformers (1, h, w, C). Where
    `grid`, rows and columns of patches, is not None they are (1, T, C), a vector per patch.
    """

    features: Tensor
    stages: tuple[Stage, ...]
    first: FirstLayer | None
    grid: tuple[int, int] | None = None


@torch.no_grad()
def layer_outputs(network: Network, pixels: Tensor) -> LayerOutputs:
    """Runs the backbone on one `(3, S, S)` image, in float32 whatever its usual precision.

    Raises an `ArtifactError` if the backbone ends without a place for each of its features.
    """
    batch = pixels[None].to(network.device, memory_format=torch.channels_last)
    fields = ReceptiveFields(batch)
    stages: dict[str, Stage] = {}
    responses: list[Tensor] = []

    grid = patch_grid(network.backbone)
    channels_last = str(getattr(network.backbone, "output_fmt", "")).endswith("NHWC")

    def keep_stage(name: str, output: Any) -> None:
        window = fields.of(output) if isinstance(output, Tensor) else None
        if grid is not None and has_tokens(output, grid):
            output = as_map(output, grid)
        elif channels_last and isinstance(output, Tensor) and output.dim() == 4:
            output = output.permute(0, 3, 1, 2)
        if isinstance(output, Tensor) and output.dim() == 4:
            stages[name] = Stage(name, output[0].float().cpu().numpy().copy(), window)

    first = next((m for m in network.backbone.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None)
    with ExitStack() as hooks, fields:
        for name, module in _stage_modules(network.backbone):
            hooks.enter_context(module.register_forward_hook(lambda _, __, output, name=name: keep_stage(name, output)))
        if first is not None:
            hooks.enter_context(first.register_forward_hook(lambda _, __, output: responses.append(output.clone())))
        features = network.backbone.forward_features(batch)  # type: ignore[operator]  # timm's, without types
    grid = grid if has_tokens(features, grid) else None
    if grid is None:
        _check_map(network.backbone, features)
    return LayerOutputs(features, _evenly_chosen(tuple(stages.values())), _first_layer(first, responses), grid)


def strongest_maps(maps: NDArray[np.float32], count: int) -> list[int]:
    """Indices of the maps (C, h, w) that vary most over the photo, at most `count`, without near-copies."""
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    centred = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    units = centred / np.maximum(lengths, 1e-12)[:, None]
    chosen: list[int] = []
    for index in np.argsort(-lengths, kind="stable"):
        if len(chosen) == count or lengths[index] == 0:
            break
        if not chosen or np.abs(units[chosen] @ units[index]).max() < ALIKE:
            chosen.append(int(index))
    return chosen


def _stage_modules(backbone: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that timm's feature_info names; none for an architecture without feature_info."""
    modules = dict(backbone.named_modules())
    for described in getattr(backbone, "feature_info", ()):
        name = described["module"]
        if name in modules:
            yield name, modules[name]


def _evenly_chosen(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """At most `MOST_STAGES`, the first and the last included."""
    if len(stages) <= MOST_STAGES:
        return stages
    return tuple(stages[round(i)] for i in np.linspace(0, len(stages) - 1, MOST_STAGES))


def _first_layer(layer: nn.Conv2d | None, responses: list[Tensor]) -> FirstLayer | None:
    if layer is None or not responses:
        return None
    return FirstLayer(layer.weight.float().cpu().numpy(), responses[0][0].float().cpu().numpy())


def _check_map(backbone: nn.Module, features: Any) -> None:
    channels = getattr(backbone, "num_features", None)
    if (
        not isinstance(features, Tensor)
        or features.dim() != 4
        or channels not in (features.shape[1], features.shape[3])
    ):
        raise ArtifactError(
            f"{type(backbone).__name__} does not keep, up to its last layers, which place of the photo each number is"
            " about; explain supports convolutional networks, such as ResNets and DenseNets, and transformers with one"
            " grid of patches (ViT, DINO, BEiT) or a map (Swin)."
        )
