"""The ladder and the one-dimensional pair as pictures (PNG), with what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from handful.training.ladder.settings import ON_BACKBONE
from handful.training.report.plots import BLUE, INK, ORANGE, SMALL, figure_with_axes, percent_ticks, png


@dataclass(frozen=True)
class RungResult:
    """One rung of the table."""

    name: str
    title: str
    accuracy: float
    accuracy_ci95: tuple[float, float]
    parameters: int
    trained: int
    seconds: float  # training and answering in all folds, without reading and embedding the photos


@dataclass(frozen=True)
class ErrorCurve:
    """One network's training: the share of wrong answers after each epoch."""

    name: str
    title: str
    parameters: int
    train_error: list[float]
    test_error: list[float]
    seconds: float


def ladder_plot(rows: Sequence[RungResult]) -> bytes:
    """Accuracy with its 95 % interval, the lowest rung at the bottom; blue rungs use a pretrained network."""
    figure, axes = figure_with_axes(height=1.3 + 0.42 * len(rows))
    for height, row in enumerate(rows):
        colour = BLUE if row.name in ON_BACKBONE else ORANGE
        low, high = row.accuracy_ci95
        axes.plot([low, high], [height, height], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot([row.accuracy], [height], "o", color=colour)
        axes.annotate(
            f"{row.accuracy:.1%}", (row.accuracy, height), (0, 5), textcoords="offset points", color=INK,
            ha="center", va="bottom", fontsize=SMALL,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [f"{row.title}\n{row.parameters:,} parameters" for row in rows], fontsize=SMALL)
    lowest = min(row.accuracy_ci95[0] for row in rows)
    axes.set(xlabel="accuracy, 95 % interval", ylim=(-0.6, len(rows) - 0.3))
    axes.set_xlim(max(0, lowest - 0.05), 1.04)
    axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.6)
    percent_ticks(axes, "x")
    return png(figure)


def curves_plot(curves: Sequence[ErrorCurve]) -> bytes:
    """Error against epoch, on the training signals (dashed) and on the test signals."""
    figure, axes = figure_with_axes(height=3.8)
    for curve, colour in zip(curves, (BLUE, ORANGE), strict=True):
        epochs = np.arange(1, len(curve.test_error) + 1)
        axes.plot(epochs, curve.train_error, "--", color=colour, linewidth=1, label=f"{curve.title}, training")
        axes.plot(epochs, curve.test_error, color=colour, label=f"{curve.title}, test: {curve.test_error[-1]:.1%}")
    axes.set(xlabel="epoch", ylabel="signals labelled wrongly", ylim=(-0.02, 0.95))
    percent_ticks(axes, "y")
    figure.legend(loc="outside lower center", ncols=1, frameon=False, labelcolor=INK, fontsize=SMALL)
    return png(figure)
