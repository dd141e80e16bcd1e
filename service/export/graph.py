"""A classifier as one torch module from pixels to answers, and that module as ONNX, with whole images as its input."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from handful.service.artifact.errors import UsageError
from handful.service.artifact.unknown import OTHER_WEIGHT
from handful.service.classifier import Classifier
from handful.service.compute.folding import fold
from handful.service.lean.onnx_file import OUTPUTS
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    import onnx

OPSET = 18  # of ONNX: since 2022, read by ONNX Runtime 1.14, OpenVINO 2023
MOST_IMAGES = 65_536
_PIXELS = "pixels"


class WholeAnswer(nn.Module):
    """`(N, 3, S, S)`, as `Preprocessing` gives it -> the `OUTPUTS`: (N, L), (N,), (N,) bool and (N, D), in float32."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        network = classifier.network
        backbone = fold(network.backbone, low_precision=False) or network.backbone
        self.backbone = copy.deepcopy(backbone).cpu().to(memory_format=torch.contiguous_format)
        self.head = copy.deepcopy(network.head).cpu() if network.head is not None else nn.Identity()
        self.temperature, unknown = classifier.card.temperature, classifier.unknown
        self.threshold, self.other_least = unknown.threshold, unknown.other_least
        self.register_buffer("directions", torch.from_numpy(unknown.directions), persistent=False)
        self.taught = unknown.other is not None
        if unknown.other is not None:
            self.register_buffer("other", torch.from_numpy(unknown.other), persistent=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        embedding = self.backbone(pixels)
        probabilities = torch.softmax(self.head(embedding) / self.temperature, dim=-1)
        score = self._unknown_score(F.normalize(embedding, dim=-1))
        return probabilities, score, ~(score <= self.threshold), embedding

    def _unknown_score(self, unit: Tensor) -> Tensor:
        score = 1 - (unit @ self.get_buffer("directions").T).amax(dim=-1)
        if self.taught:
            score = score + (OTHER_WEIGHT * (unit @ self.get_buffer("other"))).clamp(min=self.other_least)
        return score


def onnx_model(classifier: Classifier) -> onnx.ModelProto:
    """In float32, of `(N, H, W, 3)` uint8. `UsageError` names the filter or operator that cannot be exported."""
    from handful.service.export.resizing import check_filter, resize_first

    check_filter(classifier.preprocessing)
    side = classifier.preprocessing.side_pixels
    example = torch.zeros(2, 3, side, side)
    images = {0: torch.export.Dim("N", min=1, max=MOST_IMAGES)}
    with torch.inference_mode(mode=False), torch.no_grad(), _quiet():
        try:
            program = torch.onnx.export(
                WholeAnswer(classifier).eval(),
                (example,),
                dynamo=True,
                dynamic_shapes={_PIXELS: images},
                input_names=[_PIXELS],
                output_names=[*OUTPUTS],
                opset_version=OPSET,
                verbose=False,
            )
        except Exception as e:
            raise UsageError(f"{_architecture(classifier)} cannot be written as ONNX: {_reason(e)}.") from e
    assert program is not None  # noqa: S101 - None is for the older exporter
    model: onnx.ModelProto = program.model_proto
    _forget_sources(model)
    resize_first(model, classifier.preprocessing)
    return model


def _forget_sources(model: onnx.ModelProto) -> None:
    """The exporter writes beside each operator which lines of code it comes from, with this machine's paths."""
    for each in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, *model.graph.output):
        each.ClearField("doc_string")
        each.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")


def _architecture(classifier: Classifier) -> str:
    return classifier.card.backbone.architecture or classifier.card.backbone.ref


def _reason(error: BaseException) -> str:
    """The innermost error's first line, which names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first[:300].rstrip(".")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress on stdout and its advice to its developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
