"""Engines are timed once per network and machine, remembered, and taken by their times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from handful.service.compute.device import best_device, has_native_bfloat16
from handful.service.compute.engine import FEW_IMAGES
from handful.service.compute.network import TIME_FROM_IMAGES, Network
from handful.service.compute.timings import Workload, fastest_of
from test_engine import RESNET, difference, network_of

SIDE = 32
DEVICE = best_device()
ROUNDING = 0.03 if has_native_bfloat16(DEVICE) else 1e-3
pytestmark = pytest.mark.usefixtures("own_home")


def network() -> Network:
    return Network(network_of("resnet18", RESNET))


def file(home: Path) -> Path:
    return home / "cache/engines.json"


def test_a_tie_goes_to_the_simpler_engine() -> None:
    assert fastest_of({"eager": 98.0, "folded": 100.0, "fused": 40.0}) == "eager"
    assert fastest_of({"eager": 60.0, "folded": 100.0, "fused": 101.0}) == "folded"


def test_every_engine_of_this_machine_is_timed_and_the_fastest_taken(own_home: Path) -> None:
    ours = network()
    ours.choose_fastest_for(None, SIDE)
    (timed,) = json.loads(file(own_home).read_text()).values()
    full = timed[Workload(ours.batch, ours.parallel_batches).key]
    assert ours.engine.name == fastest_of(full)
    assert ours.small_batch_engine is not None
    assert ours.small_batch_engine.name == fastest_of(timed[Workload(1, 1).key])
    assert {"eager", "folded"} <= set(full)
    assert min(full["eager"], full["folded"]) > 0


def test_what_is_remembered_is_not_timed_again(own_home: Path) -> None:
    network().choose_fastest_for(None, SIDE)
    known = json.loads(file(own_home).read_text())
    for rates in (rates for timed in known.values() for rates in timed.values()):
        for name in rates:
            rates[name] = 1e6 if name == "eager" else 1.0
    file(own_home).write_text(json.dumps(known))
    again = network()
    again.choose_fastest_for(None, SIDE)
    assert again.engine.name == "eager"
    assert json.loads(file(own_home).read_text()) == known


def test_a_damaged_memory_is_made_anew(own_home: Path) -> None:
    file(own_home).parent.mkdir(parents=True)
    file(own_home).write_text("{")
    network().choose_fastest_for(None, SIDE)
    assert json.loads(file(own_home).read_text())


def test_a_memory_that_cannot_be_written_stops_nothing(own_home: Path) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    (own_home / "cache").write_text("in the way")
    ours = network()
    ours.choose_fastest_for(None, SIDE)
    assert ours.engine.name in {"eager", "folded", "fused", "graph", "openvino"}


@pytest.mark.parametrize("images", [FEW_IMAGES, TIME_FROM_IMAGES - 1])
def test_for_few_images_nothing_is_timed(own_home: Path, images: int) -> None:
    network().choose_fastest_for(images, SIDE)
    assert not file(own_home).exists()


def test_the_answer_is_the_same_for_one_image_and_in_a_full_batch() -> None:
    ours = network()
    ours.choose_fastest_for(None, SIDE)
    batch = torch.randn(ours.batch, 3, SIDE, SIDE)
    expected = ours.embed(batch)
    assert difference(ours.embed(batch[:1]), expected[:1]) < ROUNDING
