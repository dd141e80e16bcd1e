"""Configuration and weights -> one torch module: images to embeddings, embeddings to logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from service.artifact.errors import ArtifactInconsistent

CLASSIFIER = "classifier"  # the key of pretrained_cfg that names timm's last layer


class Network(nn.Module):
    """A frozen backbone and the head on top of it, on one device, at that device's best precision."""

    def __init__(self, backbone: nn.Module, head: nn.Module | None = None) -> None:
        super().__init__()
        self.device = best_device()
        backbone = backbone.eval().requires_grad_(requires_grad=False)
        self.backbone = backbone.to(self.device).to(memory_format=torch.channels_last)
        self.head = None if head is None else head.eval().requires_grad_(requires_grad=False).to(self.device)
        self.low_precision = has_native_bfloat16(self.device)

    @torch.inference_mode()
    def embed(self, batch: Tensor, pad_to: int = 1) -> Tensor:
        """`(N, 3, S, S)` float32 -> `(N, D)` float32 on the CPU.

        The batch is padded to `pad_to`, or else to the next power of two: few shapes reach the
        kernels, and an image's embedding does not depend on how many came with it.
        """
        count = len(batch)
        missing = max(pad_to, 1 << (count - 1).bit_length()) - count
        if missing:
            batch = torch.cat([batch, batch.new_zeros(missing, *batch.shape[1:])])
        batch = batch.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision):
            embeddings: Tensor = self.backbone(batch)
        return embeddings[:count].float().cpu()

    @torch.inference_mode()
    def logits(self, embeddings: Tensor) -> Tensor:
        """`(N, D)` -> `(N, L)` float32 on the CPU, before the temperature."""
        if self.head is None:
            raise ValueError("this network has no head")
        logits: Tensor = self.head(embeddings.to(self.device))
        return logits.cpu()


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed, not emulated: there it is about twice as fast."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(
        bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def build_backbone(config: Mapping[str, Any]) -> nn.Module:
    """The architecture without its last layer, random weights, from a Hub-format `config.json`."""
    arguments: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in config.get("model_args", {}).items()
    }
    network: nn.Module = timm.create_model(config["architecture"], pretrained=False, num_classes=0, **arguments)
    return network


def build_head(kind: str, weights: Mapping[str, Tensor]) -> nn.Module:
    """`linear`: weight (L, D), bias (L,). `hidden`: one ReLU layer of H units before it."""
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
    """One state dict: a linear head under the name timm gives it, a hidden one under `head.`."""
    prefix = f"{classifier_name(config)}." if kind == "linear" else "head."
    return {**backbone, **{prefix + name: tensor for name, tensor in head.items()}}


def split_weights(
    config: Mapping[str, Any], kind: str, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inverse of `join_weights`."""
    prefix = f"{classifier_name(config)}." if kind == "linear" else "head."
    head = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    backbone = {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}
    return backbone, head


def classifier_name(config: Mapping[str, Any]) -> str:
    name = config["pretrained_cfg"].get(CLASSIFIER)
    if not isinstance(name, str):
        raise ArtifactInconsistent(f"pretrained_cfg.classifier is {name!r}; the name of one layer is allowed.")
    return name


def build_network(config: Mapping[str, Any], kind: str, weights: Mapping[str, Tensor], label_count: int) -> Network:
    """The artifact's network; parts that do not fit each other are `ArtifactInconsistent`."""
    backbone_weights, head_weights = split_weights(config, kind, weights)
    try:
        head = build_head(kind, head_weights)
        backbone = build_backbone(config)
        backbone.load_state_dict(backbone_weights)
    except KeyError as e:
        raise ArtifactInconsistent(f"The weights lack the head's {e}, which a {kind} head has.") from e
    except RuntimeError as e:
        raise ArtifactInconsistent(f"The weights do not fit {config.get('architecture')!r}: {_first_line(e)}.") from e
    outputs = len(head_weights["bias"])
    if outputs != label_count:
        raise ArtifactInconsistent(f"The head has {outputs} outputs, the card {label_count} labels.")
    return Network(backbone, head)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
