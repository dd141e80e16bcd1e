"""A backbone's layers under the names that its authors gave them, and the learning rate of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from handful.service.artifact.errors import BackboneUnsupported, UsageError
from handful.training.finetune.settings import FineTuneSettings
from timm.models import group_parameters
from torch import nn


@dataclass(frozen=True)
class Layer:
    """One stage, as timm divides the architecture: `layer3` of a ResNet, `stages.2` of a ConvNeXt."""

    name: str
    parameters: tuple[str, ...]
    depth: float  # 0: the lowest, 1: the topmost


def layers(backbone: nn.Module) -> list[Layer]:
    """Lowest first; every parameter is in exactly one."""
    if not hasattr(backbone, "group_matcher"):
        raise BackboneUnsupported(f"a {type(backbone).__name__} does not list its layers, so it cannot be fine-tuned")
    matcher = cast("Any", backbone).group_matcher(coarse=True)
    grouped: list[list[str]] = list(group_parameters(backbone, matcher).values())
    return [
        Layer(_own_prefix(names, grouped), tuple(names), depth / max(1, len(grouped) - 1))
        for depth, names in enumerate(grouped)
    ]


def _own_prefix(names: Sequence[str], grouped: Sequence[Sequence[str]]) -> str:
    """The shortest prefix of the first parameter's name that no other group has."""
    others = [name for group in grouped if group is not names for name in group]
    parts = names[0].split(".")
    prefixes = (".".join(parts[:count]) for count in range(1, len(parts)))
    own = (p for p in prefixes if not any(name.startswith(f"{p}.") for name in others))
    return next(own, names[0])


def layers_from(backbone: nn.Module, first: str | None) -> list[Layer]:
    """The layers that are trained: `first` and all above it. `UsageError` where no layer has that name."""
    all_layers = layers(backbone)
    names = [layer.name for layer in all_layers]
    if first is None:
        return all_layers
    if first not in names:
        raise UsageError(f"The layer to fine-tune from is {first!r}, allowed for this backbone: {', '.join(names)}.")
    return all_layers[names.index(first) :]


def parameter_groups(
    backbone: nn.Module, head: nn.Module, trained: Sequence[Layer], settings: FineTuneSettings
) -> list[dict[str, Any]]:
    """For AdamW; `share` scales the group's learning rate, in equal steps of its logarithm from layer to layer.

    Lower layers respond to edges and colours, which new photos have too, and learn more slowly (Howard and Ruder 2018,
    "discriminative fine-tuning"). Parameters in no group stay as they were pretrained.
    """
    by_name = dict(backbone.named_parameters())
    groups = [_group(list(head.parameters()), 1.0, settings.weight_decay)]
    for layer in trained:
        share = settings.lowest_rate_share ** (1 - layer.depth)
        parameters = [by_name[name] for name in layer.parameters]
        groups.append(_group([p for p in parameters if p.ndim > 1], share, settings.weight_decay))
        groups.append(_group([p for p in parameters if p.ndim <= 1], share, 0.0))
    return [group for group in groups if group["params"]]


def _group(parameters: list[nn.Parameter], share: float, weight_decay: float) -> dict[str, Any]:
    return {"params": parameters, "share": share, "weight_decay": weight_decay}
