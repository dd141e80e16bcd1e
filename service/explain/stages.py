"""One photo through the backbone, with what its stages say on the way."""

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
from numpy.typing import NDArray
from torch import Tensor, nn

MOST_STAGES = 6
ALIKE = 0.8  # maps whose correlation is above it show a person the same thing twice


@dataclass(frozen=True)
class Stage:
    """A part of the backbone that ends in maps of one size; `window` is None where a point may see everything."""

    name: str  # the module's
    maps: NDArray[np.float32]  # (C, h, w)
    window: Window | None


@dataclass(frozen=True)
class FirstLayer:
    """The only filters that can be looked at as pictures, and what each of them answers to the photo."""

    filters: NDArray[np.float32]  # (F, 3, k, k)
    responses: NDArray[np.float32]  # (F, h, w)


@dataclass(frozen=True)
class Seen:
    """Everything that one forward pass left behind; `features` (1, C, h, w) are what the head's input is made of."""

    features: Tensor
    stages: tuple[Stage, ...]
    first: FirstLayer | None


@torch.no_grad()
def look(network: Network, pixels: Tensor) -> Seen:
    """Shows the backbone one `(3, S, S)` picture, in float32 whatever its usual precision.

    Raises an `ArtifactError` where the backbone keeps no map over the photo, as a transformer does.
    """
    batch = pixels[None].to(network.device, memory_format=torch.channels_last)
    fields = ReceptiveFields(batch)
    stages: dict[str, Stage] = {}
    responses: list[Tensor] = []

    def keep_stage(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4:
            stages[name] = Stage(name, output[0].float().cpu().numpy().copy(), fields.of(output))

    first = next((m for m in network.backbone.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None)
    with ExitStack() as hooks, fields:
        for name, module in _stage_modules(network.backbone):
            hooks.enter_context(module.register_forward_hook(lambda _, __, output, name=name: keep_stage(name, output)))
        if first is not None:
            hooks.enter_context(first.register_forward_hook(lambda _, __, output: responses.append(output.clone())))
        features = network.backbone.forward_features(batch)  # type: ignore[operator]  # timm's, known to no stub
    _check_map(network.backbone, features)
    return Seen(features, _spread(tuple(stages.values())), _first_layer(first, responses))


def strongest(maps: NDArray[np.float32], count: int) -> list[int]:
    """Which maps (C, h, w) vary most over the photo, at most `count`, those left out that repeat a stronger one."""
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
    """What timm's feature_info names; an architecture that has none has no stages to show."""
    modules = dict(backbone.named_modules())
    for described in getattr(backbone, "feature_info", ()):
        name = described["module"]
        if name in modules:
            yield name, modules[name]


def _spread(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """At most so many as a page holds, first and last among them."""
    if len(stages) <= MOST_STAGES:
        return stages
    return tuple(stages[round(i)] for i in np.linspace(0, len(stages) - 1, MOST_STAGES))


def _first_layer(layer: nn.Conv2d | None, responses: list[Tensor]) -> FirstLayer | None:
    if layer is None or not responses:
        return None
    return FirstLayer(layer.weight.float().cpu().numpy(), responses[0][0].float().cpu().numpy())


def _check_map(backbone: nn.Module, features: Any) -> None:
    channels = getattr(backbone, "num_features", None)
    if not isinstance(features, Tensor) or features.dim() != 4 or features.shape[1] != channels:
        raise ArtifactError(
            f"{type(backbone).__name__} keeps no map of the photo up to its last layer;"
            " explain reads convolutional networks, such as ResNets and DenseNets."
        )
