"""Activation maps: which parts of the photo speak for a label.

With a linear head on globally averaged features, a label's logit is exactly the mean over all positions of weights
times features, plus the bias: the products before the mean are the class activation map (CAM; Zhou et al. 2016,
"Learning Deep Features for Discriminative Localization"). With any other head the gradient replaces the weights, and
negative values are set to zero (Grad-CAM; Selvaraju et al. 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from handful.service.compute.network import Network
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class ActivationMap:
    """`values` (h, w): positive ones speak for the label; in a CAM their mean plus `bias` is the logit."""

    kind: Literal["CAM", "Grad-CAM", "token relevance"]
    values: NDArray[np.float32]
    logit: float
    bias: float  # 0 for the two estimates, whose values do not add up to the logit


def activation_map(network: Network, features: Tensor, label: int) -> ActivationMap:
    """The map for one label's index, from the features of `layer_outputs`, (1, C, h, w) or (1, h, w, C)."""
    features = features.detach().clone().requires_grad_()
    with torch.enable_grad():
        embedding = network.backbone.forward_head(features)  # type: ignore[operator]  # timm's, without types
        logit = network.head(embedding)[0, label] if network.head is not None else embedding.sum() * 0
        (gradient,) = torch.autograd.grad(logit, features)
    channels = 1 if features.shape[1] == embedding.shape[1] else 3
    places = (2, 3) if channels == 1 else (1, 2)
    values = (gradient.sum(places, keepdim=True) * features).sum(channels)[0].detach()  # (h, w)
    if isinstance(network.head, nn.Linear) and torch.allclose(embedding, features.mean(places), rtol=1e-4, atol=1e-5):
        return ActivationMap("CAM", values.cpu().numpy(), float(logit.detach()), float(network.head.bias[label]))
    return ActivationMap("Grad-CAM", values.relu().cpu().numpy(), float(logit.detach()), 0.0)


def upsampled(values: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """A map (h, w) at the input's size (S, S): points spread evenly, linear between them.

    In a ResNet the centres of the receptive fields lie up to half a step further left and up, but the pixels that
    change a point most lie where an even spread puts it (training/LOG.md).
    """
    height, width = values.shape
    pixels = np.arange(side) + 0.5
    rows = np.stack([np.interp(pixels, _centres(width, side), row) for row in values])  # (h, S)
    return np.stack([np.interp(pixels, _centres(height, side), column) for column in rows.T], axis=1)


def _centres(count: int, side: int) -> NDArray[np.float64]:
    return (np.arange(count) + 0.5) * side / count
