"""Each engine gives the embeddings of timm's own network, within the rounding of its precision."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from handful.service.artifact.folder import open_artifact
from handful.service.classifier import Classifier
from handful.service.compute import engine
from handful.service.compute.device import best_device, has_native_bfloat16
from handful.service.compute.folding import fold, fuse
from handful.service.compute.network import Network, build_backbone, build_head, split_weights
from torch import Tensor, nn

DEVICE = best_device()
ROUNDING = 0.02 if has_native_bfloat16(DEVICE) else 1e-4  # of the largest value
RESNET: dict[str, Any] = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}
NETWORKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "residual": ("resnet18", RESNET, "folded"),
    "bottlenecks, deep stem": ("resnet50", RESNET | {"stem_type": "deep", "stem_width": 8, "avg_down": True}, "folded"),
    "normalised before it convolves": ("densenet121", {"growth_rate": 8, "block_config": (2, 2)}, "folded"),
    "gated, depthwise": ("mobilenetv3_small_050", {}, "folded"),
    "attention": ("vit_tiny_patch16_224", {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}, "eager"),
}


def network_of(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Random weights, with BatchNorm statistics that change the result if they are folded wrongly."""
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(architecture, num_classes=0, **arguments)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    return network.eval().requires_grad_(requires_grad=False).to(DEVICE)


@torch.inference_mode()
def difference(got: Tensor, expected: Tensor) -> float:
    return float((got.float() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_chosen_engine_gives_the_eager_networks_embeddings(kind: str) -> None:
    architecture, arguments, least = NETWORKS[kind]
    backbone = network_of(architecture, arguments)
    batch = torch.randn(3, 3, 64, 64).to(DEVICE)
    with torch.inference_mode():
        expected = backbone(batch).cpu()
    network = Network(backbone)
    assert network.engine.name in ({"folded", "fused"} if least == "folded" else {"eager"})
    assert difference(network.embed(batch), expected) < ROUNDING
    with torch.inference_mode():
        # the network itself is left as it was; in another layout a GPU's TF32 rounds differently
        assert difference(backbone(batch).cpu(), expected) < (1e-5 if DEVICE.type == "cpu" else 5e-3)


@torch.inference_mode()
def test_an_efficientnet_in_bfloat16_starts_in_float32() -> None:
    """Which keeps it nearer to float32 than bfloat16 throughout."""
    backbone = network_of("tf_efficientnet_lite0", {}).cpu()
    batch, cpu = torch.randn(4, 3, 33, 33, generator=torch.Generator().manual_seed(0)), torch.device("cpu")
    expected = backbone(batch)
    assert torch.equal(engine.autocast(backbone, cpu, low_precision=False)(batch), expected)
    with torch.autocast("cpu", torch.bfloat16):
        throughout = difference(backbone(batch), expected)
    assert difference(engine.autocast(backbone, cpu, low_precision=True)(batch), expected) < throughout < 0.2


@pytest.mark.parametrize("kind", [kind for kind, (_, _, least) in NETWORKS.items() if least == "folded"])
def test_in_float32_folding_and_fusing_are_exact(kind: str) -> None:
    architecture, arguments, _ = NETWORKS[kind]
    backbone = network_of(architecture, arguments).cpu()
    folded = fold(backbone, low_precision=False)
    assert folded is not None
    batch = torch.randn(3, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = backbone(batch)
        assert difference(folded(batch), expected) < 1e-5
        assert difference(fuse(folded)(batch), expected) < 1e-5


def test_a_convolution_that_is_called_twice_is_not_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.one, self.two = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, batch: Tensor) -> Tensor:
            embedding: Tensor = self.two(self.shared(self.one(self.shared(batch)))).mean((2, 3))
            return embedding

    assert engine.choose_engine(Twice().eval(), DEVICE).name == "eager"


def test_probabilities_are_those_of_the_eager_network(artifact: Path) -> None:
    whole = open_artifact(artifact)
    classifier = Classifier.from_artifact(whole)
    backbone_weights, head_weights = split_weights(whole.config, whole.card.head.kind, whole.weights())
    backbone, head = build_backbone(whole.config).eval(), build_head(whole.card.head.kind, head_weights)
    backbone.load_state_dict(backbone_weights)
    batch = torch.randn(8, 3, 32, 32)
    with torch.inference_mode():
        expected = torch.softmax(head(backbone(batch)).double() / whole.card.temperature, dim=1)
    got = torch.tensor([prediction.probabilities for prediction in classifier.predict(batch)])
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=0.02)


@pytest.mark.skipif(DEVICE.type == "cpu" and not shutil.which("g++"), reason="compiling needs a C++ compiler")
@pytest.mark.slow
def test_a_compiled_network_gives_the_same() -> None:
    network = Network(network_of("resnet18", RESNET))
    batch = torch.randn(4, 3, 32, 32, device=DEVICE)
    compiled = engine.compiled(network.backbone, batch)
    assert compiled is not None
    with torch.inference_mode():
        assert difference(compiled.run(batch).float().cpu(), network.embed(batch)) < ROUNDING


def test_few_expected_images_run_eagerly_until_more_are_expected() -> None:
    network = Network(network_of("resnet18", RESNET))
    batch = torch.randn(4, 3, 64, 64)
    network.choose_engine_for(4)
    few, name = network.embed(batch), network.engine.name
    network.choose_engine_for(engine.FEW_IMAGES + 1)
    assert (name, network.engine.name != "eager") == ("eager", True)
    assert difference(few, network.embed(batch)) < ROUNDING


def test_an_engine_stays_when_only_few_more_images_are_expected() -> None:
    network = Network(network_of("resnet18", RESNET))
    network.choose_engine_for(engine.FEW_IMAGES + 1)
    made = network.engine
    network.choose_engine_for(1)
    assert network.engine is made


@pytest.mark.usefixtures("own_home")
def test_it_is_compiled_only_for_very_many_images_on_a_gpu() -> None:
    network = Network(network_of("resnet18", RESNET))
    names = []
    for images in (1_000, 1_000_000):
        network.choose_fastest_for(images, 32)
        names.append(network.engine.name == "compiled")
    assert names == [False, DEVICE.type == "cuda"]
