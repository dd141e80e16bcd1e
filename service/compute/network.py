"""An artifact's configuration and weights -> one torch module: images to embeddings, embeddings to logits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from handful.service.artifact.errors import ArtifactInconsistent
from handful.service.compute.device import CPU_BATCH, MOST_PARALLEL_BATCHES, SMALL_BATCH, best_device, cpu_count
from handful.service.compute.engine import (
    COMPILE_FROM,
    FEW_IMAGES,
    Arithmetic,
    Engine,
    arithmetic,
    choose_engine,
    compiled,
    eager,
)
from handful.service.compute.fastest import EngineTimings
from handful.service.compute.int8 import Ranges
from handful.service.compute.skeleton import build_fitting
from handful.service.compute.timings import Rates, Workload, rates_text
from handful.service.compute.timm_library import timm
from handful.service.compute.weights import head_prefix
from torch import Tensor, nn

BATCH = 32  # images, on a GPU
TIME_FROM_IMAGES = 300  # timing takes as long as about so many images
# arguments of timm.create_model that a config.json may not set: some would download or unpickle a file
RESERVED = {"num_classes", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}


class Network(nn.Module):
    """A frozen backbone and the head on top of it, on one device, at that device's best precision."""

    def __init__(self, backbone: nn.Module, head: nn.Module | None = None, ranges: Ranges | None = None) -> None:
        """`ranges` allow the int8 engine; None excludes it."""
        super().__init__()
        self.device = best_device()
        backbone = backbone.eval().requires_grad_(requires_grad=False)
        self.backbone = backbone.to(self.device).to(memory_format=torch.channels_last)
        self.head = None if head is None else head.eval().requires_grad_(requires_grad=False).to(self.device)
        self.ranges = ranges
        self.small_batch_engine: Engine | None = None  # for up to SMALL_BATCH images; None: `engine` takes them too
        self.timed: dict[Workload, Rates] = {}  # images per second by engine, where the choice was by timing
        self.timings_key: str | None = None  # of `timed`, in compute/timings.py
        self.smallest_batch = 1  # smaller ones are padded to it
        self.even = False  # whether every batch is computed in the same way: see `make_even`
        on_cpu = self.device.type == "cpu"
        self.batch = CPU_BATCH if on_cpu else BATCH  # images per batch: the fastest number
        self.parallel_batches = min(cpu_count(), MOST_PARALLEL_BATCHES) if on_cpu else 1  # the fastest number

    @cached_property
    def engine(self) -> Engine:
        """Computes the backbone; prepared when it is first needed."""
        try:
            return choose_engine(self.backbone, self.device, self.ranges)
        except KeyError as e:
            raise ArtifactInconsistent(f"The card's int8 ranges do not fit the network: {e} is missing.") from e

    @property
    def arithmetic(self) -> Arithmetic:
        """The engine's arithmetic, known before the engine is prepared; embeddings of two arithmetics differ."""
        return arithmetic(self.device, self.ranges)

    def choose_engine_for(self, images: int) -> None:
        """By rule, for so many images: the same engine each time, so that training gives the same embeddings."""
        if images <= FEW_IMAGES and "engine" not in vars(self) and self.arithmetic != "int8":
            self.engine = eager(self.backbone, self.device)
            return
        if images > FEW_IMAGES and self.engine.only_for_few:
            del self.engine
        self.warm_up()

    def choose_fastest_for(self, images: int | None, side_pixels: int) -> None:
        """By timing, for so many images, or for as many as come (None); embeddings change within rounding.

        The first time, the engines of a network are timed for two or three seconds, unless there are few images.
        """
        timings = EngineTimings(self.backbone, self.device, self.ranges, side_pixels)
        one, full = Workload(1, 1), Workload(self.batch, self.parallel_batches)
        if images is not None and images < TIME_FROM_IMAGES and not (timings.rates(one) and timings.rates(full)):
            self.choose_engine_for(images)
            return
        try:
            self.engine, self.small_batch_engine = timings.fastest(full), timings.fastest(one)
            self.timed = {workload: timings.rates(workload) or {} for workload in (one, full)}
            self.timings_key = timings.key
        except KeyError as e:
            raise ArtifactInconsistent(f"The card's int8 ranges do not fit the network: {e} is missing.") from e
        if images is not None and images >= COMPILE_FROM and self.device.type != "cpu":
            self._compile(side_pixels)

    def make_even(self) -> None:
        """From now on one engine computes every batch, at one size, on as many cores: no answer depends on the others.

        So a photo gets the same bytes in one process, in a shard and in a resumed run of the same kind of machine.
        """
        self.small_batch_engine, self.smallest_batch, self.even = None, self.batch, True

    @property
    def engine_text(self) -> str:
        """The engines that are used, why, and what was timed, for a person."""
        lines = [f"{self.engine.label} on {self.device.type}: {self.engine.why}"]
        if self.small_batch_engine is not None:
            lines.append(f"for up to {SMALL_BATCH} images: {self.small_batch_engine.label}")
        return "\n".join([*lines, *rates_text(self.timed)])

    def _compile(self, side_pixels: int) -> None:
        shape = torch.zeros(self.batch, 3, side_pixels, side_pixels, device=self.device)
        engine = compiled(self.backbone, shape.to(memory_format=torch.channels_last))
        if engine is not None:  # each further shape would be compiled, too
            self.engine, self.small_batch_engine, self.smallest_batch = engine, None, self.batch

    def warm_up(self) -> None:
        """Prepares the engine before threads share the network: two that need it at once might each prepare one."""
        self.engine  # noqa: B018 - a cached property

    @torch.inference_mode()
    def embed(self, batch: Tensor, pad_to: int = 1) -> Tensor:
        """`(N, 3, S, S)` float32 -> `(N, D)` float32 on the CPU.

        The last batch is padded to `pad_to`, or else to the next power of two: the kernels see few shapes, and an
        image's embedding does not depend on the number of images in its batch.
        """
        return torch.cat([self._embed(part, pad_to) for part in torch.split(batch, self.batch)])

    def _embed(self, batch: Tensor, pad_to: int) -> Tensor:
        count = len(batch)
        missing = max(pad_to, self.smallest_batch, 1 << (count - 1).bit_length()) - count
        if missing:
            batch = torch.cat([batch, batch.new_zeros(missing, *batch.shape[1:])])
        batch = batch.to(self.device, memory_format=torch.channels_last)
        engine = self.engine if self.small_batch_engine is None or len(batch) > SMALL_BATCH else self.small_batch_engine
        return engine.run(batch)[:count].float().cpu()

    @torch.inference_mode()
    def embed_float32(self, batch: Tensor) -> Tensor:
        """As `embed`, but by the unchanged network in float32, which other ways to compute it are held against."""
        with torch.backends.cudnn.flags(allow_tf32=False):
            embeddings: Tensor = self.backbone(batch.to(self.device, memory_format=torch.channels_last))
        return embeddings.float().cpu()

    @torch.inference_mode()
    def logits(self, embeddings: Tensor) -> Tensor:
        """`(N, D)` -> `(N, L)` float32 on the CPU, before the temperature."""
        if self.head is None:
            raise ValueError("this network has no head")
        count, missing = len(embeddings), -len(embeddings) % self.batch if self.even else 0
        if missing:  # a product of fewer rows is summed in another order
            embeddings = torch.cat([embeddings, embeddings.new_zeros(missing, *embeddings.shape[1:])])
        logits: Tensor = self.head(embeddings.to(self.device))
        return logits[:count].cpu()


def build_backbone(config: Mapping[str, Any]) -> nn.Module:
    """The architecture without its last layer, random weights, from a Hub-format `config.json`."""
    architecture = config["architecture"]
    if not timm.is_model(architecture):  # so neither hf-hub: nor local-dir:, which would load other weights
        raise ArtifactInconsistent(f"The architecture is {architecture!r}; those in timm.list_models() are allowed.")
    arguments: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in config.get("model_args", {}).items() if k not in RESERVED
    }
    network: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
    return network


def build_head(kind: str, weights: Mapping[str, Tensor]) -> nn.Module:
    """A head as a torch module. `linear`: weight (L, D), bias (L,); `hidden`: a ReLU layer of H units before it."""
    if kind == "linear":
        return _linear(weights["weight"], weights["bias"])
    return nn.Sequential(
        _linear(weights["hidden.weight"], weights["hidden.bias"]),
        nn.ReLU(),
        _linear(weights["weight"], weights["bias"]),
    )


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def join_weights(
    config: Mapping[str, Any], kind: str, backbone: Mapping[str, Tensor], head: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """One state dict: a linear head under timm's name for it, a hidden head under `head.`."""
    prefix = head_prefix(config, kind)
    return {**backbone, **{prefix + name: tensor for name, tensor in head.items()}}


def split_weights(
    config: Mapping[str, Any], kind: str, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inverse of `join_weights`."""
    prefix = head_prefix(config, kind)
    head = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    backbone = {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}
    return backbone, head


def build_network(
    config: Mapping[str, Any],
    kind: str,
    weights: Mapping[str, Tensor],
    label_count: int,
    ranges: Ranges | None = None,
) -> Network:
    """The artifact's network; raises `ArtifactInconsistent` if its parts do not fit each other."""
    backbone_weights, head_weights = split_weights(config, kind, weights)
    try:
        head = build_head(kind, head_weights)
    except KeyError as e:
        raise ArtifactInconsistent(f"The weights lack the head's {e}, which a {kind} head has.") from e
    outputs = len(head_weights["bias"])
    if outputs != label_count:
        raise ArtifactInconsistent(f"The head has {outputs} outputs, the card {label_count} labels.")
    try:
        backbone = build_fitting(lambda: build_backbone(config), backbone_weights)
    except RuntimeError as e:
        raise ArtifactInconsistent(f"The weights do not fit {config.get('architecture')!r}: {_first_line(e)}.") from e
    return Network(backbone, head, ranges)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
