"""What timm is imported without is there when it is asked for."""

from __future__ import annotations

import sys

import torch
from handful.service.compute import timm_library as timm_library  # before timm is imported by anything else
from timm.layers._fx import get_graph_node_names


def test_torchvisions_models_are_loaded_when_one_is_asked_for() -> None:
    import torchvision  # type: ignore[import-untyped]  # it has no types

    assert torchvision.models.resnet18.__module__ == "torchvision.models.resnet"
    assert sys.modules["torchvision.models"] is torchvision.models


def test_timms_feature_extractors_work() -> None:
    names, _ = get_graph_node_names(torch.nn.Sequential(torch.nn.Linear(2, 2)).eval())
    assert names[-1] == "0"
