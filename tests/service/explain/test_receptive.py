"""The receptive field, against published numbers and against the gradient."""

from __future__ import annotations

import pytest
import timm
import torch
from handful.service.explain.receptive import ReceptiveFields, Window
from torch import nn


def last_window(network: nn.Module, side: int = 224) -> Window | None:
    source = torch.empty(1, 3, side, side, device="meta")
    fields = ReceptiveFields(source)
    with torch.no_grad(), fields:
        features = network.to("meta").eval().forward_features(source)  # type: ignore[operator]  # timm's
    return fields.of(features)


@pytest.mark.parametrize(
    ("architecture", "pixels"),
    [
        ("resnet18", 435),
        ("resnet34", 899),
        ("resnet50", 427),  # timm's stride is in the 3 x 3; with it in the first 1 x 1 the paper's 483
        ("vgg16", 212),  # Araujo et al. 2019, as the next two
        ("mobilenetv1_100", 315),
        ("inception_v3", 1311),
    ],
)
def test_the_last_map_of_a_known_network_has_the_published_field(architecture: str, pixels: int) -> None:
    window = last_window(timm.create_model(architecture, num_classes=0))
    assert window is not None
    assert (window.pixels, window.stride_pixels) == (pixels, 32)


def test_a_gate_over_the_whole_map_leaves_no_bound() -> None:
    assert last_window(timm.create_model("efficientnet_b0", num_classes=0)) is None


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 1, 3, 2, 1), nn.MaxPool2d(3, 2, 1), nn.Conv2d(1, 1, 3, 1, 2, dilation=2)],
        [nn.Conv2d(1, 1, (1, 5), 1, (0, 2)), nn.ZeroPad2d((1, 0, 3, 0)), nn.AvgPool2d(2)],
        [nn.MaxPool2d(2, dilation=3), nn.Conv2d(1, 1, 2, 3)],
    ],
)
def test_the_field_is_where_the_gradient_is(layers: list[nn.Module]) -> None:
    """With every weight one and an even input, each pixel that a point can depend on has its gradient."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.ones_(parameter)
    network = nn.Sequential(*layers)
    source = torch.rand(1, 1, 64, 64)
    fields = ReceptiveFields(source)
    with torch.no_grad(), fields:
        features = network(source)
    window = fields.of(features)
    assert window is not None
    point = features.shape[2] // 2
    reached = torch.zeros(64, 64, dtype=torch.bool)
    for seed in range(40):  # another pixel wins in max pooling each time
        image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        (gradient,) = torch.autograd.grad(network(image)[0, 0, point, point], image)
        reached |= gradient[0, 0] != 0
    for extent, axis in ((window.down, 1), (window.across, 0)):
        places = reached.any(axis).nonzero().flatten()
        assert (int(places[0]), int(places[-1])) == (
            extent.jump * point + extent.first,
            extent.jump * point + extent.last,
        )
