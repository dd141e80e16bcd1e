"""A backbone's layers by the names its authors gave them, and how fast each of them learns."""

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
        raise BackboneUnsupported(f"a {type(backbone).__name__} does not tell its layers; it cannot be fine-tuned")
    matcher = cast("Any", backbone).group_matcher(coarse=True)
    grouped: list[list[str]] = list(group_parameters(backbone, matcher).values())
    return [
        Layer(_own_prefix(names, grouped), tuple(names), depth / max(1, len(grouped) - 1))
        for depth, names in enumerate(grouped)
    ]


def _own_prefix(names: Sequence[str], grouped: Sequence[Sequence[str]]) -> str:
    """The shortest beginning of the first parameter's name that no other group has."""
    others = [name for group in grouped if group is not names for name in group]
    parts = names[0].split(".")
    prefixes = (".".join(parts[:count]) for count in range(1, len(parts)))
    own = (p for p in prefixes if not any(name.startswith(f"{p}.") for name in others))
    return next(own, names[0])


def layers_from(backbone: nn.Module, first: str | None) -> list[Layer]:
    """The layers that are trained; a name that is none of them is a `UsageError`."""
    found = layers(backbone)
    names = [layer.name for layer in found]
    if first is None:
        return found
    if first not in names:
        raise UsageError(f"--finetune-from is {first!r}, allowed for this backbone: {', '.join(names)}")
    return found[names.index(first) :]


def parameter_groups(
    backbone: nn.Module, head: nn.Module, trained: Sequence[Layer], settings: FineTuneSettings
) -> list[dict[str, Any]]:
    """What AdamW is given; `share` is the group's part of the learning rate, falling evenly in its logarithm.

    Lower layers see edges and colours, which new photos have too (Howard and Ruder 2018, "discriminative
    fine-tuning"). Whatever is in no group stays as it was pretrained.
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
