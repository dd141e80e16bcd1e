"""The plots of the report: numbers -> PNG.

The same numbers give the same bytes. All text is dark on white, since no grey has enough contrast on a light and on a
dark page; a dark page inverts the picture. matplotlib is imported by the first plot, not with this module.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from handful.training.metrics import wilson_interval
from handful.training.report.learning_curve import LearningCurve
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PAPER, GREY = "#39414a", "#ffffff", "#8a9096"  # of text and axes; of the background; of dots without a label
BLUE, ORANGE, RED, GREEN, VIOLET = "#3a86c8", "#d9822b", "#d64545", "#2f9e6e", "#9b6bd3"
PALE, DEEP = np.array([0.88, 0.91, 0.94]), np.array([0.11, 0.31, 0.57])  # cells of the confusion matrix
COLOURS = ("#3a86c8", "#d9822b", "#2f9e6e", "#9b6bd3", "#c9a227", "#1fa3a3", "#d6619e", "#8c6d4f", "#6b8e23", "#5c6bc0")
MARKERS = "os^DvPX<>*"
DPI = 180
WIDTH = 4.2  # inches
SMALL = 9  # points; the smallest text, 10.6 pixels high on a phone that is 390 wide
FEW_LABELS = 6  # whose names fit below the confusion matrix
BINS = 15  # the same as for the expected calibration error


@dataclass(frozen=True)
class MapPoints:
    """Photos on the embedding map."""

    points: NDArray[np.float64]  # (N, 2)
    shown_as: NDArray[np.int64]  # (N,) index into `COLOURS`; -1: grey

    @property
    def colours(self) -> list[str]:
        return [COLOURS[number] if number >= 0 else GREY for number in self.shown_as]


def confusion_plot(counts: NDArray[np.int64], names: Sequence[str], numbers: Sequence[int]) -> Figure:
    """The confusion matrix (K, K): each cell shows the number of photos; its colour is their share of the row.

    Where the names of many labels would not fit below the columns, their numbers (K,) stand there and in the rows.
    """
    few = len(names) <= FEW_LABELS
    leaning = few and (len(names) > 3 or max(map(len, names)) > 12)
    height = min(WIDTH, (2.5 if leaning else 1.8) + 0.34 * len(names)) if few else 0.8 + 0.24 * len(names)
    figure, axes = figure_with_axes(height)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    depth = np.where(share > 0.5, 0.6 + 0.4 * share, 0.8 * share)  # no cell is so grey that text on it is hard to read
    cells = PALE + depth[..., None] * (DEEP - PALE)  # (K, K, 3)
    axes.imshow(cells, aspect="equal" if few else "auto")
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if _is_dark(cells[row, column]) else "black"
        size = 13 if len(names) <= 4 else 10 if few else SMALL
        axes.text(column, row, str(counts[row, column]), color=colour, fontsize=size, ha="center", va="center")
    rows = names if few else [f"{name}  {number}" for name, number in zip(names, numbers, strict=True)]
    columns = names if few else [str(number) for number in numbers]
    axes.set_yticks(range(len(names)), rows)
    axes.set_xticks(range(len(names)), columns)
    if leaning:
        for label in axes.get_xticklabels():
            label.set(rotation=55, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, labelsize=10 if few else SMALL)
    axes.set(xlabel="answer", ylabel="label in the folder")
    return figure


def _is_dark(colour: NDArray[np.float64]) -> bool:
    """Whether white text has more contrast on it than black, by the luminance of WCAG 2."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05


def reliability_plot(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Figure:
    """The share of right answers against confidence, with 95 % intervals, and the number of photos below."""
    figure = _blank(height=3.7)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    bin_of_image = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(bin_of_image, minlength=BINS)
    used = np.flatnonzero(counts)
    means = [float(confidence[bin_of_image == b].mean()) for b in used]
    hits = [int(right[bin_of_image == b].sum()) for b in used]
    shares = np.array([hit / counts[b] for hit, b in zip(hits, used, strict=True)])
    intervals = np.array([wilson_interval(hit, int(counts[b])) for hit, b in zip(hits, used, strict=True)])  # (U, 2)
    spread = np.abs(intervals - shares[:, None]).T
    above.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
    above.errorbar(means, shares, yerr=spread, fmt="o", color=BLUE, ecolor=BLUE, elinewidth=1.2, capsize=3)
    above.set(ylabel="right answers", ylim=(-0.03, 1.03))
    below.bar((used + 0.5) / BINS, counts[used], width=0.9 / BINS, color=BLUE)
    for b in used:
        below.annotate(
            str(counts[b]), ((b + 0.5) / BINS, counts[b]), (0, 2), textcoords="offset points", color=INK,
            ha="center", fontsize=SMALL,
        )  # fmt: skip
    below.set(xlabel="confidence", ylabel="photos", ylim=(0, 1.5 * counts.max()))
    below.set_xlim(used[0] / BINS - 0.03, 1.03)
    for axes in (above, below):
        _style(axes)
    percent_ticks(above, "y")
    percent_ticks(below, "x")
    return figure


def learning_plot(curve: LearningCurve) -> Figure:
    figure, axes = figure_with_axes(height=2.9)
    mean = curve.accuracy.mean(axis=1)
    axes.fill_between(curve.sizes, curve.accuracy.min(axis=1), curve.accuracy.max(axis=1), color=BLUE, alpha=0.25, lw=0)
    axes.plot(curve.sizes, mean, "o-", color=BLUE)
    axes.plot(curve.sizes, curve.accuracy, ".", color=BLUE, alpha=0.6)
    axes.set_xscale("log", base=2)
    axes.set_xticks(curve.sizes, [str(size) for size in curve.sizes])
    axes.minorticks_off()
    margin = max(0.01, 0.1 * float(np.ptp(curve.accuracy)))
    axes.set_ylim(max(-0.02, curve.accuracy.min() - margin), min(1.02, curve.accuracy.max() + margin))
    axes.set(xlabel="photos per label (at most)", ylabel="accuracy")
    percent_ticks(axes, "y")
    return figure


def map_plot(
    dots: MapPoints, names: Sequence[str], mistaken: NDArray[np.bool_], background: MapPoints | None = None
) -> Figure:
    """The embedding map; a ring marks each point that is `mistaken` (N,), the background is drawn pale."""
    figure, axes = figure_with_axes(height=4.0)
    if background is not None:
        x, y = background.points.T
        axes.scatter(x, y, s=70, c=background.colours, marker=".", linewidths=0, alpha=0.35)
    others = dots.shown_as < 0
    if others.any():
        marker = "." if background is None else "x"
        x, y = dots.points[others].T
        axes.scatter(x, y, c=GREY, marker=marker, label="other labels", alpha=0.7)
    for index, name in enumerate(names):
        x, y = dots.points[dots.shown_as == index].T
        axes.scatter(x, y, s=22, c=COLOURS[index], marker=MARKERS[index], label=name, linewidths=0, alpha=0.8)
    x, y = dots.points[mistaken].T
    axes.scatter(
        x, y, s=85, facecolors="none", edgecolors=RED, linewidths=1.4,
        label="mistake" if mistaken.any() else None,
    )  # fmt: skip
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, labelcolor=INK, fontsize=SMALL)
    return figure


def refusal_plot(curves: Mapping[str, NDArray[np.floating]], threshold: float) -> Figure:
    """One curve per entry (legend -> scores (N,)): the share of photos above the threshold, for every threshold."""
    figure, axes = figure_with_axes(height=3.0)
    for colour, (legend, scores) in zip((BLUE, GREEN, VIOLET), curves.items(), strict=False):
        ordered = np.sort(scores)
        share = 1 - np.arange(1, len(ordered) + 1) / len(ordered)
        refused = float((scores > threshold).mean())
        x, y = np.concatenate([ordered[:1], ordered]), np.concatenate([[1.0], share])
        axes.step(x, y, where="post", color=colour, label=f"{legend}: {refused:.1%}")
        axes.plot([threshold], [refused], "o", color=ORANGE)
    axes.axvline(threshold, color=ORANGE, linestyle="--")
    side = "right" if threshold > sum(axes.get_xlim()) / 2 else "left"
    axes.annotate(f"chosen: {threshold:.3f}", (threshold, 1.04), color=INK, ha=side, va="bottom", annotation_clip=False)
    figure.legend(loc="outside lower center", ncols=1, frameon=False, labelcolor=INK, fontsize=SMALL)
    axes.set(xlabel="threshold (how unlike every label)", ylabel="answered with unknown", ylim=(-0.03, 1.03))
    percent_ticks(axes, "y")
    return figure


def _blank(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor=PAPER)


def figure_with_axes(height: float) -> tuple[Figure, Axes]:
    figure = _blank(height)
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.spines[:].set_color(INK)
    axes.spines[:].set_linewidth(0.6)
    axes.spines[["top", "right"]].set_visible(False)


def percent_ticks(axes: Axes, which: Literal["x", "y"]) -> None:
    """Percent ticks, none of them above 100 % even where the axis extends further."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axis, (low, high) = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    axis.set_ticks([tick for tick in ticks if max(low, 0) <= tick <= min(high, 1 + 1e-9)])
    whole = all(abs(100 * tick - round(100 * tick)) < 1e-6 for tick in ticks)
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0 if whole else 1))


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
