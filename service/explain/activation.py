"""Which places of the photo spoke for a label.

For a linear head on globally averaged features the label's logit is, to the last digit, the mean over all places of
weight times features, plus the bias: that sum before the mean is the class activation map (CAM; Zhou et al. 2016,
"Learning Deep Features for Discriminative Localization"). For any other head the weights are the gradient's, and what
speaks against the label is left out (Grad-CAM; Selvaraju et al. 2017).
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
    """`values` (h, w): positive speaks for the label; of a CAM, their mean plus `bias` is the logit."""

    kind: Literal["CAM", "Grad-CAM"]
    values: NDArray[np.float32]
    logit: float
    bias: float  # 0 for a Grad-CAM, which does not add up


def activation_map(network: Network, features: Tensor, label: int) -> ActivationMap:
    """Of the features (1, C, h, w) that `stages.look` found, for the label's index."""
    features = features.detach().clone().requires_grad_()
    with torch.enable_grad():
        embedding = network.backbone.forward_head(features)  # type: ignore[operator]  # timm's, known to no stub
        logit = network.head(embedding)[0, label] if network.head is not None else embedding.sum() * 0
        (gradient,) = torch.autograd.grad(logit, features)
    values = (gradient.sum((2, 3), keepdim=True) * features).sum(1)[0].detach()  # (h, w)
    if isinstance(network.head, nn.Linear) and torch.allclose(embedding, features.mean((2, 3)), rtol=1e-4, atol=1e-5):
        return ActivationMap("CAM", values.cpu().numpy(), float(logit.detach()), float(network.head.bias[label]))
    return ActivationMap("Grad-CAM", values.relu().cpu().numpy(), float(logit.detach()), 0.0)


def placed(values: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """A map (h, w) over the input (S, S): its points spread evenly, straight lines between them.

    The middles of what the points can see lie up to half a step further left and up in a ResNet; which pixels really
    move a point says that it looks at where an even spread puts it (training/LOG.md).
    """
    height, width = values.shape
    pixels = np.arange(side) + 0.5
    rows = np.stack([np.interp(pixels, _middles(width, side), row) for row in values])  # (h, S)
    return np.stack([np.interp(pixels, _middles(height, side), column) for column in rows.T], axis=1)


def _middles(count: int, side: int) -> NDArray[np.float64]:
    return (np.arange(count) + 0.5) * side / count
