"""OpenVINO computes what torch computes, layer by layer; a layer that it lacks is said, and another engine runs."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from handful.service.compute.device import best_device
from handful.service.compute.engine import openvino
from handful.service.compute.fastest import EngineTimings
from handful.service.compute.openvino import OpenVinoNetwork
from handful.service.compute.openvino_library import is_installed
from handful.service.compute.timings import Workload
from test_engine import RESNET, difference, network_of
from torch import nn

if not is_installed():
    pytest.skip("the extra openvino is not installed", allow_module_level=True)
SIDE = 33  # odd: TensorFlow's padding then differs from torch's
ROUNDING = 1e-4  # of the largest value
BFLOAT16 = 0.1  # of many random layers on top of each other
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": RESNET,
    "resnet26d": {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16), "block_args": {"attn_layer": "se"}},
    "tf_efficientnet_lite0": {},
    "mobilenetv3_small_050": {},
    "densenet121": {"block_config": (2, 2), "growth_rate": 8},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_answers_as_torch_does(name: str) -> None:
    network = network_of(name, NETWORKS[name])
    exact, chosen = OpenVinoNetwork(network, SIDE, low_precision=False), openvino(network, SIDE)
    batch = torch.randn(6, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(batch)
        assert difference(exact(batch), expected) < ROUNDING
        assert difference(exact(batch[:1].to(memory_format=torch.channels_last)), expected[:1]) < ROUNDING
        assert difference(chosen.run(batch), expected) < (BFLOAT16 if chosen.low_precision else ROUNDING)


def test_threads_share_it() -> None:
    network = network_of("resnet18", RESNET)
    run = OpenVinoNetwork(network, SIDE, low_precision=False)
    batches = [torch.full((6, 3, SIDE, SIDE), float(number)) for number in range(8)]
    with ThreadPoolExecutor(4) as pool, torch.inference_mode():
        for batch, result in zip(batches, pool.map(run, batches), strict=True):
            assert difference(result, network(batch)) < ROUNDING


class Transposed(nn.Module):
    """A network with an operation that is not built."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.transpose(self.convolution(batch), 2, 3).mean((2, 3))


@pytest.mark.usefixtures("own_home")
def test_a_network_that_it_lacks_a_layer_of_runs_on_another_engine() -> None:
    network = Transposed().eval()
    with pytest.raises(NotImplementedError, match="transpose is not built"):
        openvino(network, SIDE)
    if best_device().type == "cpu":
        timings = EngineTimings(network, best_device(), None, SIDE)
        assert timings.fastest(Workload(1, 1)).name != "openvino"
        assert (timings.rates(Workload(1, 1)) or {})["openvino"] == 0  # not usable, and remembered as such


def test_its_converter_which_reports_to_its_maker_is_not_imported() -> None:
    OpenVinoNetwork(network_of("resnet18", RESNET), SIDE, low_precision=False)
    assert not {"openvino.tools.ovc", "openvino_telemetry"} & set(sys.modules)
