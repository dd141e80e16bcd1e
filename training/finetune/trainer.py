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
from handful.training.finetune.photos import Photos
from handful.training.finetune.schedule import rate_share
from handful.training.finetune.settings import FineTuneSettings
from handful.training.head.folds import Labels
from handful.training.head.linear import Floats
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

ANSWERED_AT_ONCE = 32  # photos; padded to it as the embeddings are
Numbers = NDArray[np.intp]
Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Start:
    """What every run starts from: the pretrained backbone and a trained head's kind and arrays."""

    backbone: nn.Module
    kind: str
    head: Mapping[str, Floats]


class Run:
    """The weights of normalisation layers learn, their statistics stay: a batch of a few photos has none to give.

    Nothing is random but what each photo looks like in each epoch, and in which order they come; both follow from the
    seed. So a run that was saved after an epoch and loaded again goes on as if it had not been stopped.
    """

    def __init__(
        self, start: Start, photos: Photos, labels: Labels, part: Numbers, settings: FineTuneSettings,
        seed: Sequence[int], ranks: Ranks,
    ) -> None:  # fmt: skip
        self.photos, self.labels, self.part, self.settings = photos, labels, part, settings
        self.seed, self.ranks, self.device = seed, ranks, best_device()
        weights = {name: torch.from_numpy(np.array(array)) for name, array in start.head.items()}
        self.label_count = len(start.head["bias"])
        self.network = nn.ModuleDict({"backbone": deepcopy(start.backbone), "head": build_head(start.kind, weights)})
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
        self.steps = -(-len(part) // settings.batch)  # an epoch
        self.epoch = 0

    def train_epoch(self, progress: Progress) -> None:
        """Every photo of the part once, in batches of the same size or one photo less."""
        seed = [*self.seed, self.epoch]
        order = np.random.default_rng(seed).permutation(self.part)
        batches = np.array_split(order, self.steps)
        mine = [self.ranks.share(batch) for batch in batches]
        pixels = self.photos.batches(mine, lambda number: self.photos.augmented(number, seed))
        seen, loss, right = 0, 0.0, 0
        for number, (batch, own, images) in enumerate(zip(batches, mine, pixels, strict=True)):
            step = self.epoch * self.steps + number
            share = rate_share(step, self.settings.epochs * self.steps, self.settings)
            batch_loss, batch_right = self._step(images, own, len(batch), share)
            self._average(step)
            seen, loss, right = seen + len(own), loss + batch_loss * len(batch), right + batch_right
            words = f"loss {loss / max(1, seen):.3f}, accuracy {right / max(1, seen):.0%}"
            progress(len(batch), f"epoch {self.epoch + 1}: {words}")
        self.epoch += 1

    def _step(self, images: Tensor, own: Numbers, batch_images: int, share: float) -> tuple[float, int]:
        """The part of the loss that is this process's, and how many of its photos were right."""
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
        self._follow_gradient()
        return float(loss.detach()), right

    def _logits(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            embeddings = self.network["backbone"](images)
        logits: Tensor = self.network["head"](embeddings.float())
        return logits

    def _follow_gradient(self) -> None:
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
        """Exponentially; soon after the start over fewer steps, or the first weights would stay in it for long."""
        reach = min(self.settings.averaged_share * self.settings.epochs * self.steps, 1 + step / 9)
        for mean, parameter in zip(self.averaged, self.trained, strict=True):
            mean.lerp_(parameter.detach(), 1 / max(1.0, reach))

    def logits(self, numbers: Numbers, blends: Sequence[float] = (1.0,)) -> Tensor:
        """(B, N, L) of photos as the service sees them, by the averaged weights at each blend; see `answers`."""

        def answer(images: Tensor) -> Tensor:
            on_device = images.to(self.device, memory_format=torch.channels_last)
            found = []
            for blend in blends:
                with self._blended_in_place(blend):
                    found.append(self._logits(on_device))
            return torch.cat(found, 1)

        with torch.no_grad():
            width = len(blends) * self.label_count
            rows = _gathered(answer, width, self.photos, numbers, self.ranks, self.device)
        return rows.view(len(numbers), len(blends), self.label_count).transpose(0, 1)

    def answers(self, blend: float = 1.0) -> Network:
        """A copy with the averaged weights, as the service would run it.

        A blend of 0.5 lies halfway between the weights of the start and the averaged ones: such networks keep more of
        what was pretrained (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
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
        """Goes on after the epoch that `state` was taken at."""
        self.epoch = state["epoch"]
        for mine, saved in zip([*self.trained, *self.averaged], [*state["trained"], *state["averaged"]], strict=True):
            mine.data.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])


def embeddings_of(network: Network, photos: Photos, numbers: Numbers, ranks: Ranks) -> Floats:
    """(N, D), the photos as the service sees them."""

    def embed(images: Tensor) -> Tensor:
        return network.embed(images, pad_to=ANSWERED_AT_ONCE)

    width = _inputs(network.get_submodule("head"))
    return _gathered(embed, width, photos, numbers, ranks, network.device).numpy()


def _gathered(
    answer: Callable[[Tensor], Tensor], width: int, photos: Photos, numbers: Numbers, ranks: Ranks, device: torch.device
) -> Tensor:
    """(N, W) on the CPU; each process answers for its share of the photos, all get the whole."""
    mine = ranks.share(np.arange(len(numbers)))
    parts = [mine[start : start + ANSWERED_AT_ONCE] for start in range(0, len(mine), ANSWERED_AT_ONCE)]
    rows = torch.zeros(len(numbers), width, device=device)
    for part, images in zip(parts, photos.batches((numbers[part] for part in parts), photos.plain), strict=True):
        rows[part] = answer(images).to(device)
    ranks.add([rows])
    return rows.cpu()


def _inputs(head: nn.Module) -> int:
    """D, what its first layer takes."""
    return next(module.in_features for module in head.modules() if isinstance(module, nn.Linear))


def _precision(device: torch.device) -> torch.dtype:
    """What the convolutions are computed in; the weights stay in float32."""
    if has_native_bfloat16(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


def _image_weights(labels: Labels, part: Numbers) -> Floats:
    """(N,) with mean 1 over the part, the same sum for each label in it: the frozen head is fitted so too."""
    images = np.bincount(labels[part], minlength=int(labels.max()) + 1)
    present = np.count_nonzero(images)
    return (len(part) / (present * np.maximum(images, 1)[labels])).astype(np.float32)
