"""int8: close to the float network, independent of the batch, and refused for networks that it does not suit."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from handful.service.artifact.errors import ArtifactInconsistent
from handful.service.compute.device import has_native_int8
from handful.service.compute.int8 import _MaxPool, calibrate, quantised
from handful.service.compute.network import Network
from torch import Tensor, nn
from torch.nn import functional as F

RESNET: dict[str, Any] = {"layers": (2, 1, 1, 1), "channels": (8, 8, 16, 16)}
SUITED: dict[str, tuple[str, dict[str, Any]]] = {
    "residual": ("resnet18", RESNET),
    "bottlenecks, deep stem": ("resnet50", RESNET | {"stem_type": "deep", "stem_width": 8, "avg_down": True}),
    "grouped": ("resnext50_32x4d", RESNET | {"cardinality": 4, "base_width": 16}),
}
UNSUITED: dict[str, tuple[str, dict[str, Any]]] = {
    "normalised before it convolves": ("densenet121", {"growth_rate": 8, "block_config": (2, 2)}),
    "attention": ("vit_tiny_patch16_224", {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}),
}


def network_of(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(architecture, num_classes=0, **arguments)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    return network.eval().requires_grad_(requires_grad=False)


def images(count: int, seed: int = 0) -> Tensor:
    pixels = torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return pixels.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
@pytest.mark.parametrize("kind", SUITED)
def test_it_is_close_to_the_float_network(kind: str) -> None:
    network = network_of(*SUITED[kind])
    ranges = calibrate(network, [images(8), images(8, 1)])
    assert ranges is not None
    small, unseen = quantised(network, ranges), images(16, 2)
    assert float(F.cosine_similarity(small(unseen), network(unseen)).min()) > 0.995
    assert torch.equal(small(unseen), small(unseen)), "a sum was written into memory that another layer still reads"


@torch.inference_mode()
def test_an_answer_does_not_depend_on_its_neighbours() -> None:
    network = network_of(*SUITED["residual"])
    ranges = calibrate(network, [images(8)])
    assert ranges is not None
    small, batch = quantised(network, ranges), images(8, 3)
    for number, row in enumerate(small(batch)):
        alone = batch[number : number + 1].contiguous(memory_format=torch.channels_last)
        assert torch.equal(small(alone)[0], row)


@pytest.mark.parametrize("kind", UNSUITED)
def test_other_networks_are_left_as_they_are(kind: str) -> None:
    assert calibrate(network_of(*UNSUITED[kind]), [images(2)]) is None


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), nn.MaxPool2d((3, 2), (2, 1))])
def test_the_largest_of_integers_is_the_largest_of_numbers(pool: nn.MaxPool2d) -> None:
    values = torch.randint(0, 256, (2, 3, 15, 14), dtype=torch.uint8)
    assert torch.equal(_MaxPool(pool)(values).float(), pool(values.float()))


def test_a_network_uses_it_where_the_processor_has_instructions_for_it() -> None:
    backbone = network_of(*SUITED["residual"])
    ranges = calibrate(backbone, [images(8)])
    network = Network(backbone, ranges=ranges)
    assert (network.engine.name == "int8") == has_native_int8(network.device)
    with torch.inference_mode():
        expected = backbone.cpu()(images(4))
    assert float(F.cosine_similarity(network.embed(images(4)), expected).min()) > 0.995


@pytest.mark.skipif(not has_native_int8(torch.device("cpu")), reason="this processor has no 8-bit instructions")
def test_ranges_of_another_network_are_refused() -> None:
    network = Network(network_of(*SUITED["residual"]), ranges={"conv1": (0.0, 1.0)})
    if network.device.type != "cpu":
        pytest.skip("int8 is not used on a GPU")
    with pytest.raises(ArtifactInconsistent, match="int8 ranges"):
        network.embed(images(1))
