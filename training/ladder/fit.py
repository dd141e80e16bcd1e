"""Training a network from random weights on some of the photos.

The number of epochs follows from the number of photos alone: there is no early stopping, so no held-out photo can
influence it. Everything that is learned from photos, the mean and deviation of each channel included, comes from the
training part only. The one augmentation is the same for every network: each photo is mirrored with probability 1/2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from handful.service.compute.device import best_device, has_native_bfloat16
from handful.service.terminal.progress import Advance
from handful.training.head.labelled import Floats, Labels, Rows
from handful.training.ladder.squares import StoredSquares
from numpy.typing import NDArray
from torch import Tensor, nn

SMALL, LARGE = 32, 128  # photos per step, with few and with many photos
MANY = 4000
WARM_UP = 0.1  # share of the steps
ANSWER_BATCH = 256
STATISTICS_FROM = 2000  # photos at most to measure mean and deviation on
STATISTICS_PIXELS = 20_000_000  # of them at once: 400 photos at 224 x 224, all 2,000 at 64 x 64
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601

Pictures = StoredSquares | NDArray[np.uint8]  # (N, S, S, 3)


@dataclass(frozen=True)
class ScratchRecipe:
    """How one architecture is trained."""

    build: Callable[[int], nn.Sequential]  # from the number of labels
    side_pixels: int
    learning_rate: float  # AdamW's highest
    weight_decay: float
    max_epochs: int  # for a handful of photos
    min_epochs: int  # for tens of thousands
    photos_seen: int = 30_000  # between the two: epochs times photos
    grey: bool = False
    low_precision: bool = False  # bfloat16 where the processor has it; small networks gain nothing

    def epochs(self, photos: int) -> int:
        return max(self.min_epochs, min(self.max_epochs, round(self.photos_seen / photos)))


class ScratchNetwork:
    """A network with the standardisation that it learned."""

    def __init__(self, network: nn.Module, recipe: ScratchRecipe, squares: Pictures, train: Rows) -> None:
        self.network, self._recipe, self._squares, self._device = network, recipe, squares, best_device()
        network.to(self._device).to(memory_format=torch.channels_last)
        self._bf16 = recipe.low_precision and has_native_bfloat16(self._device)
        self._mean, std = self._statistics(train[:: max(1, len(train) // STATISTICS_FROM)])  # (1, C, 1, 1)
        self._std = std.clamp_min(1e-3)

    @torch.inference_mode()
    def answer(self, photos: Rows) -> Floats:
        """Logits (N, L)"""
        self.network.eval()
        parts = np.array_split(photos, max(1, -(-len(photos) // ANSWER_BATCH)))
        return torch.cat([self.logits(self.inputs(part)).cpu() for part in parts]).numpy()

    def logits(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            logits: Tensor = self.network(inputs)
        return logits.float()

    def inputs(self, photos: Rows) -> Tensor:
        """(N, C, S, S) float32, standardised, on the device."""
        return self._raw(photos).sub_(self._mean).div_(self._std)

    def _raw(self, photos: Rows) -> Tensor:
        pixels = torch.from_numpy(self._squares[photos]).to(self._device)  # (N, S, S, 3) uint8
        inputs = pixels.permute(0, 3, 1, 2).float().div_(255)
        if self._recipe.grey:
            inputs = (inputs * inputs.new_tensor(GREY)[:, None, None]).sum(dim=1, keepdim=True)
        return inputs

    def _statistics(self, photos: Rows) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel (1, C, 1, 1)."""
        block = max(1, STATISTICS_PIXELS // self._recipe.side_pixels**2)  # photos
        if len(photos) > block:
            return statistics_of_parts(map(self._raw, np.array_split(photos, -(-len(photos) // block))))
        sample = self._raw(photos)
        return sample.mean(dim=(0, 2, 3), keepdim=True), sample.std(dim=(0, 2, 3), keepdim=True)


def statistics_of_parts(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation (1, C, 1, 1) of all pixels of parts (N, C, S, S), which need not be in memory together."""
    count, total, squares = torch.stack([_sums(part) for part in parts]).sum(dim=0)  # (C,) each
    variance = (squares - total**2 / count) / (count - 1)
    mean, deviation = (each.float()[None, :, None, None] for each in (total / count, variance.sqrt()))
    return mean, deviation


def _sums(part: Tensor) -> Tensor:
    """(3, C) float64: each channel's number of pixels, their sum and that of their squares."""
    total = part.sum(dim=(0, 2, 3), dtype=torch.float64)
    squares = part.square().sum(dim=(0, 2, 3), dtype=torch.float64)
    return torch.stack([torch.full_like(total, part[:, 0].numel()), total, squares])


def train_network(
    recipe: ScratchRecipe,
    squares: Pictures,
    labels: Labels,
    train: Rows,
    label_count: int,
    seed: int,
    progress: Advance,
) -> ScratchNetwork:
    """Learns from the rows `train` of squares (N, S, S, 3); `progress` counts every photo in every epoch.

    Every label has the same weight, as for the heads on embeddings.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        network = recipe.build(label_count)
        network.apply(_initialise)
        trained = ScratchNetwork(network, recipe, squares, train)
        _train(trained, recipe, labels, train, label_count, np.random.default_rng(seed), progress)
    return trained


def _initialise(module: nn.Module) -> None:
    """He et al. 2015: otherwise a deep network's signal vanishes at first, and few photos make few steps."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _train(
    trained: ScratchNetwork,
    recipe: ScratchRecipe,
    labels: Labels,
    train: Rows,
    label_count: int,
    random: np.random.Generator,
    progress: Advance,
) -> None:
    batch = min(len(train), SMALL if len(train) < MANY else LARGE)
    epochs = recipe.epochs(len(train))
    steps = epochs * (len(train) // batch)
    optimizer = torch.optim.AdamW(
        trained.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps + 1, pct_start=WARM_UP, cycle_momentum=False
    )
    weights = _label_weights(labels[train], label_count)
    trained.network.train()
    for _ in range(epochs):
        order = random.permutation(train)
        for first in range(0, len(order) - batch + 1, batch):  # the incomplete last batch is left out
            photos = order[first : first + batch]
            inputs = trained.inputs(photos)
            mirrored = torch.from_numpy(random.random(batch) < 0.5).to(inputs.device)
            inputs = torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
            targets = torch.from_numpy(labels[photos]).to(inputs.device)
            loss = nn.functional.cross_entropy(trained.logits(inputs), targets, weights.to(inputs.device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
        progress(len(train))


def _label_weights(labels: Labels, label_count: int) -> Tensor:
    """(L,) each label's weight, 1 where all have as many photos."""
    photos = np.bincount(labels, minlength=label_count)
    return torch.from_numpy(len(labels) / (label_count * np.maximum(photos, 1))).float()
