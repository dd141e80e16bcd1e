"""What convolution is worth: the one-dimensional pair of Prince 2023, "Understanding deep learning", figure 10.8.

A convolutional network of 2,050 parameters against a dense one of 150,185, both with three hidden layers, on MNIST-1D.

    convolutional   15 channels of 19, 9 and 4 numbers: kernels of 3, steps of 2, no padding     60 + 690 + 690 + 610
    dense           475, 225 and 100 units                               19,475 + 107,100 + 22,600 + 1,010 = 150,185

475, 225 and 100 units are 25 channels of 19, 9 and 4 numbers, the only such sizes that make 150,185 parameters; with
as many units as 15 channels have (285, 135 and 60) there would be 59,065. The book reports test errors of 17 % and
40 %.

    handful compare --mnist1d

Training is that of the book's notebook 10.2: batches of 100, SGD with momentum 0.9, a learning rate of 0.05 that is
halved every 20 epochs, 100 epochs, He et al.'s initial weights. The test part is only measured, never chosen by.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from handful.service.terminal.progress import Advance, progress_bar
from handful.training.ladder.networks import parameter_count
from handful.training.ladder.plot import ErrorCurve, curves_plot
from handful.training.ladder.signals import DIGITS, LENGTH, Signals, draw_signals
from handful.training.metrics import wilson_interval
from torch import Tensor, nn

CHANNELS = 15
DENSE_UNITS = (475, 225, 100)
EPOCHS = 100
BATCH = 100
LEARNING_RATE, MOMENTUM = 0.05, 0.9
HALVED_EVERY = 20  # epochs


def convolutional() -> nn.Sequential:
    """(N, 1, 40) -> (N, 10)"""
    return nn.Sequential(
        nn.Conv1d(1, CHANNELS, 3, stride=2), nn.ReLU(),  # (N, 15, 19)
        nn.Conv1d(CHANNELS, CHANNELS, 3, stride=2), nn.ReLU(),  # (N, 15, 9)
        nn.Conv1d(CHANNELS, CHANNELS, 3, stride=2), nn.ReLU(),  # (N, 15, 4)
        nn.Flatten(),
        nn.Linear(4 * CHANNELS, DIGITS),
    )  # fmt: skip


def dense_1d() -> nn.Sequential:
    """(N, 1, 40) -> (N, 10)"""
    sizes = (LENGTH, *DENSE_UNITS)
    hidden: list[nn.Module] = []
    for into, out in zip(sizes, DENSE_UNITS, strict=False):
        hidden += [nn.Linear(into, out), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(sizes[-1], DIGITS))


PAIR: tuple[tuple[str, str, Callable[[], nn.Sequential]], ...] = (
    ("convolutional", "convolutional network", convolutional),
    ("dense", "dense network", dense_1d),
)


def train_mnist1d_pair(seed: int, out: Path, epochs: int = EPOCHS) -> dict[str, Any]:
    """What `handful compare --mnist1d` prints; its plot goes to `out`."""
    signals = draw_signals(seed)
    with progress_bar("training", 2 * epochs) as progress:
        curves = [_curve(*network, signals, epochs, seed, progress) for network in PAIR]
    out.mkdir(parents=True, exist_ok=True)
    plot = out / "mnist1d.png"
    plot.write_bytes(curves_plot(curves))
    return {
        "data": "MNIST-1D",
        "images": {"train": len(signals.train), "test": len(signals.test)},
        "seed": seed,
        "rows": [_row(curve, len(signals.test)) for curve in curves],
        "plot": str(plot),
    }


def _row(curve: ErrorCurve, tested: int) -> dict[str, Any]:
    right = round((1 - curve.test_error[-1]) * tested)
    return {
        **{field: value for field, value in vars(curve).items() if not field.endswith("_error")},
        "accuracy": right / tested,
        "accuracy_ci95": wilson_interval(right, tested),
        "trained": curve.parameters,
        "train_accuracy": 1 - curve.train_error[-1],
    }


def _curve(
    name: str,
    title: str,
    build: Callable[[], nn.Sequential],
    signals: Signals,
    epochs: int,
    seed: int,
    progress: Advance,
) -> ErrorCurve:
    started = time.monotonic()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = build()
        network.apply(_initialise)
    train, train_labels, test, test_labels = (
        torch.from_numpy(part) for part in (signals.train, signals.train_labels, signals.test, signals.test_labels)
    )
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, HALVED_EVERY, gamma=0.5)
    random = np.random.default_rng(seed)
    errors: list[tuple[float, float]] = []
    for _ in range(epochs):
        for rows in np.split(random.permutation(len(train)), range(BATCH, len(train), BATCH)):
            loss = nn.functional.cross_entropy(network(train[rows]), train_labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
        schedule.step()
        errors.append((_error(network, train, train_labels), _error(network, test, test_labels)))
        progress(1)
    train_error, test_error = (list(error) for error in zip(*errors, strict=True))
    seconds = round(time.monotonic() - started, 3)
    return ErrorCurve(name, title, parameter_count(network), train_error, test_error, seconds)


@torch.inference_mode()
def _error(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    return float((network(inputs).argmax(dim=1) != labels).double().mean())


def _initialise(module: nn.Module) -> None:
    """He et al. 2015, as in the notebook for its linear layers."""
    if isinstance(module, nn.Conv1d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # every layer here has one
