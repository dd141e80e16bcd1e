"""The networks of the ladder are the published ones: counted layer by layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from handful.training.ladder.convolution import convolutional, dense_1d
from handful.training.ladder.networks import NeighbourNorm, alexnet, dense, lenet5, parameter_count, small_cnn
from torch import nn


def layers(network: nn.Module) -> list[int]:
    """Parameters of each layer that has any, in order."""
    counts = [parameter_count(module) for module in network.modules() if not list(module.children())]
    return [count for count in counts if count]


def test_lenet5_has_the_61706_parameters_of_1998() -> None:
    network = lenet5(10)
    assert layers(network) == [156, 2416, 48120, 10164, 850]
    assert parameter_count(network) == 61_706
    assert sum(isinstance(layer, nn.Tanh) for layer in network) == 4
    assert sum(isinstance(layer, nn.AvgPool2d) for layer in network) == 2


def test_alexnet_has_the_60_million_parameters_of_2012() -> None:
    network = alexnet(1000)
    groups = [96 * (3 * 11**2 + 1), 256 * (48 * 5**2 + 1), 384 * (256 * 3**2 + 1), 384 * (192 * 9 + 1), 256 * 1729]
    assert layers(network) == [*groups, 9216 * 4096 + 4096, 4096 * 4097, 1000 * 4097]
    assert parameter_count(network) == 60_965_224
    assert parameter_count(alexnet(10)) == 56_909_194
    assert sum(isinstance(layer, nn.Dropout) for layer in network) == 2


def test_dense_and_small_cnn_have_the_parameters_they_say() -> None:
    assert layers(dense(10)) == [3072 * 128 + 128, 1290]
    assert layers(small_cnn(10)) == [432, 32, 4608, 64, 18432, 128, 73728, 256, 1290]
    assert parameter_count(small_cnn(10)) == 98_970


def test_the_one_dimensional_pair_has_2050_and_150185_parameters() -> None:
    assert layers(convolutional()) == [60, 690, 690, 610]
    assert layers(dense_1d()) == [19475, 107100, 22600, 1010]
    assert parameter_count(convolutional()) == 2050
    assert parameter_count(dense_1d()) == 150_185
    for network in (convolutional(), dense_1d()):
        assert network(torch.zeros(2, 1, 40)).shape == (2, 10)


@pytest.mark.parametrize(("build", "channels", "side"), [(dense, 3, 32), (lenet5, 1, 32), (small_cnn, 3, 64)])
def test_a_network_answers_at_its_side(build: Callable[[int], nn.Module], channels: int, side: int) -> None:
    assert build(4)(torch.zeros(2, channels, side, side)).shape == (2, 4)


def test_alexnet_answers_at_224_pixels() -> None:
    assert alexnet(3).eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


def test_the_norm_is_torchs_own_with_the_papers_constants() -> None:
    maps = 40 * torch.randn(2, 12, 3, 3, generator=torch.Generator().manual_seed(0))
    torchs = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)  # torch divides alpha by the 5 neighbours
    torch.testing.assert_close(NeighbourNorm(12)(maps), torchs(maps))
