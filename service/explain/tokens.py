"""Transformers: which patches of the photo speak for a label.

A transformer has no map over the photo but a vector per patch (a token), and often more that belong to no place, such
as the class token, which are left out. The relevance of a patch is its vector before the last block times the gradient
of the label's logit there: to first order, by how much the logit would fall without it. Behind the last block it could
not be told, since many of these networks go on with the class token alone. Negative values are set to zero, as in a
Grad-CAM.
"""

from __future__ import annotations

from typing import Any

import torch
from handful.service.compute.network import Network
from handful.service.explain.activation import ActivationMap
from torch import Tensor, nn


def patch_grid(backbone: nn.Module) -> tuple[int, int] | None:
    """Rows and columns of the patches; None for a network whose blocks do not keep them in one grid."""
    blocks = getattr(backbone, "blocks", None)
    grid = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or not len(blocks) or grid is None:
        return None
    return int(grid[0]), int(grid[1])


def has_tokens(output: Any, grid: tuple[int, int] | None) -> bool:
    """Whether a layer's output is (1, T, C), a vector per patch behind those that belong to no place."""
    return (
        grid is not None and isinstance(output, Tensor) and output.dim() == 3 and output.shape[1] >= grid[0] * grid[1]
    )


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(1, T, C) -> (1, C, h, w) of the patches alone, which come last."""
    rows, columns = grid
    patches = tokens[:, -rows * columns :].transpose(1, 2)  # (1, C, h * w)
    return patches.reshape(1, -1, rows, columns)


def token_relevance(network: Network, pixels: Tensor, grid: tuple[int, int], label: int) -> ActivationMap:
    """For one label's index and a `(3, S, S)` image."""
    relevance, logit = signed_relevance(network, pixels, grid, label)
    return ActivationMap("token relevance", relevance.relu().cpu().numpy(), logit, 0.0)


def signed_relevance(network: Network, pixels: Tensor, grid: tuple[int, int], label: int) -> tuple[Tensor, float]:
    """(h, w) per patch, and the logit."""
    tokens: list[Tensor] = []

    def begin_here(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tokens.append(arguments[0].detach().requires_grad_())
        return tokens[0], *arguments[1:]

    blocks: Any = network.backbone.blocks
    batch = pixels[None].to(network.device)
    with torch.enable_grad():
        hook = blocks[-1].register_forward_pre_hook(begin_here)
        try:
            embedding = network.backbone(batch)
        finally:
            hook.remove()
        logit = network.head(embedding)[0, label] if network.head is not None else embedding.sum() * 0
        (gradient,) = torch.autograd.grad(logit, tokens[0])
    return as_map(gradient * tokens[0].detach(), grid).sum(1)[0], float(logit.detach())
