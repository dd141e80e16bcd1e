"""One network in training on one part of the photos: its steps, its averaged weights, its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from handful.service.compute.device import best_device, has_native_bfloat16
from handful.service.compute.network import Network, build_head
from handful.training.finetune.distributed import Ranks
from handful.training.finetune.layers import layers_from, parameter_groups
from handful.training.finetune.photos import PhotoLoader
from handful.training.finetune.schedule import warmup_cosine
from handful.training.finetune.settings import FineTuneSettings
from handful.training.head.labelled import Floats, Labels, Rows
from handful.training.head.selection import Head
from torch import Tensor, nn
from torch.nn import functional as F

ANSWER_BATCH = 32  # photos; smaller batches are padded to it, as for the embeddings
Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Start:
    """What training starts from: the pretrained backbone and a trained head."""

    backbone: nn.Module
    head: Head


class Trainer:
    """Trains one network on one part of the photos.

    The weights of normalisation layers are trained; their statistics stay, because a batch of a few photos is too small
    to estimate them. Only the augmentation and the order of the photos are random, and both follow from the seed and
    the epoch, so that training continues from a saved epoch as if it had not been stopped.
    """

    def __init__(
        self, start: Start, photos: PhotoLoader, labels: Labels, part: Rows, settings: FineTuneSettings,
        seed: Sequence[int], ranks: Ranks,
    ) -> None:  # fmt: skip
        self.photos, self.labels, self.part, self.settings = photos, labels, part, settings
        self.seed, self.ranks, self.device = seed, ranks, best_device()
        head = build_head(start.head.kind, start.head.tensors)
        self.label_count = len(start.head.tensors["bias"])
        self.network = nn.ModuleDict({"backbone": deepcopy(start.backbone), "head": head})
        self.network.eval().requires_grad_(requires_grad=False)
        self.network.to(self.device).to(memory_format=torch.channels_last)
        trained = layers_from(self.network["backbone"], settings.layer)
        groups = parameter_groups(self.network["backbone"], self.network["head"], trained, settings)
        self.trained: list[nn.Parameter] = [p.requires_grad_() for group in groups for p in group["params"]]
        ranks.copy_from_first([parameter.data for parameter in self.trained])
        self.first = [parameter.detach().clone() for parameter in self.trained]
        self.averaged = [parameter.detach().clone() for parameter in self.trained]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        self.precision = _precision(self.device) if settings.low_precision else torch.float32
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.image_weights = torch.from_numpy(_image_weights(labels, part)).to(self.device)
        self.steps = -(-len(part) // settings.batch)  # per epoch
        self.epoch = 0

    def train_epoch(self, progress: Progress) -> None:
        """Every photo of the part once, in batches whose sizes differ by one photo at most."""
        seed = [*self.seed, self.epoch]
        order = np.random.default_rng(seed).permutation(self.part)
        batches = np.array_split(order, self.steps)
        mine = [self.ranks.shard(batch) for batch in batches]
        pixels = self.photos.batches(mine, lambda number: self.photos.augmented(number, seed))
        total_steps = self.settings.epochs * self.steps
        warmup_steps = max(1, round(self.settings.warmup_share * total_steps))
        seen, loss, right = 0, 0.0, 0
        for number, (batch, own, images) in enumerate(zip(batches, mine, pixels, strict=True)):
            step = self.epoch * self.steps + number
            share = warmup_cosine(step, total_steps, warmup_steps)
            batch_loss, batch_right = self._step(images, own, len(batch), share)
            self._average(step)
            seen, loss, right = seen + len(own), loss + batch_loss * len(batch), right + batch_right
            measured = f"loss {loss / max(1, seen):.3f}, accuracy {right / max(1, seen):.0%}"
            progress(len(batch), f"epoch {self.epoch + 1}: {measured}")
        self.epoch += 1

    def _step(self, images: Tensor, own: Rows, batch_images: int, share: float) -> tuple[float, int]:
        """The loss and the number of right answers on the photos of this process."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * group["share"] * share
        loss, right = torch.zeros(()), 0
        if len(own):
            logits = self._logits(images.to(self.device, memory_format=torch.channels_last))
            labels = torch.from_numpy(self.labels[own]).to(self.device)
            losses = F.cross_entropy(logits, labels, reduction="none")
            loss = (losses * self.image_weights[own]).sum() / batch_images
            right = int((logits.argmax(1) == labels).sum())
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._apply_gradient()
        return float(loss.detach()), right

    def _logits(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            embeddings = self.network["backbone"](images)
        logits: Tensor = self.network["head"](embeddings.float())
        return logits

    def _apply_gradient(self) -> None:
        for parameter in self.trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.ranks.add([p.grad for p in self.trained if p.grad is not None])
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.trained, self.settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def _average(self, step: int) -> None:
        """Exponential; over fewer steps soon after the start, or the first weights would count for too long."""
        reach = min(self.settings.averaged_share * self.settings.epochs * self.steps, 1 + step / 9)
        for mean, parameter in zip(self.averaged, self.trained, strict=True):
            mean.lerp_(parameter.detach(), 1 / max(1.0, reach))

    def logits(self, rows: Rows, blends: Sequence[float] = (1.0,)) -> Tensor:
        """(B, N, L) of photos as the service sees them, by the averaged weights at each blend."""

        def answer(images: Tensor) -> Tensor:
            on_device = images.to(self.device, memory_format=torch.channels_last)
            of_blends = []
            for blend in blends:
                with self._blended_in_place(blend):
                    of_blends.append(self._logits(on_device))
            return torch.cat(of_blends, 1)

        with torch.no_grad():
            width = len(blends) * self.label_count
            answers = _gathered(answer, width, self.photos, rows, self.ranks, self.device)
        return answers.view(len(rows), len(blends), self.label_count).transpose(0, 1)

    def blended_network(self, blend: float = 1.0) -> Network:
        """A copy with the averaged weights, as the service would run it.

        A blend of 0.5 lies halfway between the first weights and the averaged ones: such a network keeps more of what
        was pretrained (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
        """
        with self._blended_in_place(blend):
            network = deepcopy(self.network)
        return Network(network["backbone"], network["head"])

    @contextmanager
    def _blended_in_place(self, blend: float) -> Iterator[None]:
        own = [parameter.data for parameter in self.trained]
        for parameter, first, mean in zip(self.trained, self.first, self.averaged, strict=True):
            parameter.data = first.lerp(mean, blend)
        try:
            yield
        finally:
            for parameter, data in zip(self.trained, own, strict=True):
                parameter.data = data

    def state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "trained": [parameter.detach() for parameter in self.trained],
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continues after the epoch that `state` was taken at."""
        self.epoch = state["epoch"]
        for mine, saved in zip([*self.trained, *self.averaged], [*state["trained"], *state["averaged"]], strict=True):
            mine.data.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def embeddings_of(network: Network, photos: PhotoLoader, rows: Rows, ranks: Ranks) -> Floats:
    """(N, D) of the photos as the service sees them."""

    def embed(images: Tensor) -> Tensor:
        return network.embed(images, pad_to=ANSWER_BATCH)

    width = _input_dimensions(network.get_submodule("head"))
    return _gathered(embed, width, photos, rows, ranks, network.device).numpy()


def _gathered(
    answer: Callable[[Tensor], Tensor], width: int, photos: PhotoLoader, rows: Rows, ranks: Ranks, device: torch.device
) -> Tensor:
    """(N, W) on the CPU; each process computes its shard of the photos, and all get the whole."""
    mine = ranks.shard(np.arange(len(rows)))
    parts = [mine[start : start + ANSWER_BATCH] for start in range(0, len(mine), ANSWER_BATCH)]
    answers = torch.zeros(len(rows), width, device=device)
    for part, images in zip(parts, photos.batches((rows[part] for part in parts), photos.plain), strict=True):
        answers[part] = answer(images).to(device)
    ranks.add([answers])
    return answers.cpu()


def _input_dimensions(head: nn.Module) -> int:
    """D, of its first layer."""
    return next(module.in_features for module in head.modules() if isinstance(module, nn.Linear))


def _precision(device: torch.device) -> torch.dtype:
    """Of the backbone's arithmetic; the weights stay in float32."""
    if has_native_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


def _image_weights(labels: Labels, part: Rows) -> Floats:
    """(N,) with mean 1 over the part and the same sum for each label in it, as for the frozen head."""
    images = np.bincount(labels[part], minlength=int(labels.max()) + 1)
    present = np.count_nonzero(images)
    return (len(part) / (present * np.maximum(images, 1)[labels])).astype(np.float32)
