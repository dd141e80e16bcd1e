"""The networks trained from random weights, as published; parameters for 10 labels and the input sides used here.

    dense      one hidden layer of 128 on 32 x 32 colour           3,072 x 128 + 128 + 128 x 10 + 10 =     394,634
    LeNet-5    LeCun et al. 1998, 32 x 32 grey, as it is taught              156 + 2,416 + 48,120 +
               (C3 sees all six maps, C5 is fully connected)                         10,164 + 850 =      61,706
    small CNN  four convolutions, 64 x 64 colour                                                         98,970
    AlexNet    Krizhevsky et al. 2012, 224 x 224 colour, in two groups      34,944 + 307,456 + 885,120 +
               663,936 + 442,624 + 37,752,832 + 16,781,312 + 40,970 =                                56,909,194
               (with the paper's 1,000 labels 60,965,224: its "60 million")

A test checks the numbers layer by layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN_UNITS = 128
CNN_CHANNELS = (16, 32, 64, 128)


def dense(label_count: int) -> nn.Sequential:
    """(N, 3, 32, 32) -> (N, L)"""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 32 * 32, HIDDEN_UNITS), nn.ReLU(), nn.Linear(HIDDEN_UNITS, label_count)
    )


def lenet5(label_count: int) -> nn.Sequential:
    """(N, 1, 32, 32) -> (N, L); its subsampling layers have no coefficients."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),  # (N, 6, 14, 14)
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),  # (N, 16, 5, 5)
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.Tanh(),
        nn.Linear(120, 84), nn.Tanh(),
        nn.Linear(84, label_count),
    )  # fmt: skip


def small_cnn(label_count: int) -> nn.Sequential:
    """(N, 3, 64, 64) -> (N, L): what one would use today with few photos and no pretrained network."""
    blocks: list[nn.Module] = []
    for into, out in zip((3, *CNN_CHANNELS), CNN_CHANNELS, strict=False):
        blocks += [nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
    mean_and_answer = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(CNN_CHANNELS[-1], label_count)]
    return nn.Sequential(*blocks, *mean_and_answer)


def alexnet(label_count: int) -> nn.Sequential:
    """(N, 3, 224, 224) -> (N, L); the two groups were the paper's two GPUs."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, stride=4, padding=2), nn.ReLU(), NeighbourNorm(96), nn.MaxPool2d(3, 2),  # (N, 96, 27, 27)
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), NeighbourNorm(256), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),  # (N, 384, 13, 13)
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),  # (N, 256, 6, 6)
        nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
        nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, label_count),
    )  # fmt: skip


class NeighbourNorm(nn.Module):
    """The paper's local response normalisation: x / (2 + 1e-4 * sum of the squares of 5 neighbouring maps)^0.75.

    The sum is a 1 x 1 convolution with a band of ones: torch's own layer took more than half of AlexNet's time.
    """

    def __init__(self, channels: int, neighbours: int = 5) -> None:
        super().__init__()
        apart = torch.arange(channels)[:, None] - torch.arange(channels)
        band = (apart.abs() <= neighbours // 2).float()[:, :, None, None]
        self.register_buffer("band", band, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        squares = nn.functional.conv2d(x * x, self.get_buffer("band").to(x.dtype))
        return x * (2 + 1e-4 * squares) ** -0.75


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
