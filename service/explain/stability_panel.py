"""The picture's panel on stability: the label's probability against each change of the photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from handful.service.explain.stability import Stability, ViewAnswer
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

INK, SOFT = "#1d2b3a", "#6a7178"
BLUE, ORANGE = "#2f6fae", "#d9822b"
PANEL_HEIGHT = 3.9  # inches


def draw_stability(part: SubFigure, stability: Stability, original: Image.Image, name: str) -> None:
    numbers = stability.numbers()
    part.suptitle(
        f"How stable the answer is: {name} stays the top label for {_whole_percent(numbers['same_label_share'])} of"
        f" {numbers['photos']} changed photos", fontsize=13, color=INK, fontweight="bold", x=0.02, ha="left",
    )  # fmt: skip
    shift, scale, crop, pictures = part.subplots(1, 4, width_ratios=(1.2, 1, 1, 1))
    side = original.width
    _line(shift, stability.of("shift across").answers, BLUE, "sideways")
    _line(shift, stability.of("shift down").answers, ORANGE, "up and down")
    shift.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower center")
    _dress(shift, "moved", f"by so many pixels of {side}", f"probability of {name}")
    _line(scale, stability.of("scale").answers, BLUE, "")
    scale.set_xscale("log", base=2)
    scale.set_xticks([0.5, 1, 2], ["half", "unchanged", "double"])
    _dress(scale, "smaller or larger", "size", "")
    _crops(crop, stability.of("crop").answers)
    _dress(crop, "cropped", "share of each side kept", "")
    _lowest(pictures, stability, name)


def _line(axes: Axes, answers: Sequence[ViewAnswer], colour: str, legend: str) -> None:
    ordered = sorted(answers, key=lambda each: each.view.amount)
    amounts, probabilities = [each.view.amount for each in ordered], [each.probability for each in ordered]
    axes.plot(amounts, probabilities, "o-", color=colour, ms=3.5, lw=1.5, label=legend or None)


def _crops(axes: Axes, answers: Sequence[ViewAnswer]) -> None:
    shares = sorted({each.view.amount for each in answers})
    for each in answers:
        axes.plot(each.view.amount, each.probability, "o", color=BLUE, ms=4, alpha=0.5, mew=0)
    means = [np.mean([each.probability for each in answers if each.view.amount == share]) for share in shares]
    axes.plot(shares, means, color=BLUE, lw=1.5)
    axes.invert_xaxis()
    axes.set_xticks(shares, [_whole_percent(share) for share in shares])


def _dress(axes: Axes, title: str, below: str, beside: str) -> None:
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlabel(below, fontsize=9, color=SOFT)
    axes.set_ylabel(beside, fontsize=9, color=SOFT)
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.minorticks_off()
    axes.tick_params(colors=SOFT, labelsize=8.5)
    axes.grid(axis="y", color="#e3e7ea", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b8bec4")


def _lowest(axes: Axes, stability: Stability, name: str) -> None:
    lowest, mirror = stability.lowest, stability.of("mirror").lowest
    axes.imshow(lowest.view.pixels)
    axes.set_axis_off()
    axes.set_title("least certain of this one", fontsize=11, color=INK, loc="left")
    caption = (
        f"{_change(lowest)}:\n{name} {percent(lowest.probability)}\nmirrored: {name} {percent(mirror.probability)}"
    )
    axes.text(0, -0.04, caption, fontsize=9, color=SOFT, transform=axes.transAxes, va="top", linespacing=1.4)


def _change(answer: ViewAnswer) -> str:
    """The change of the photo, in words."""
    view = answer.view
    match view.kind:
        case "shift across":
            return f"moved {abs(view.amount):.0f} pixels {'right' if view.amount > 0 else 'left'}"
        case "shift down":
            return f"moved {abs(view.amount):.0f} pixels {'down' if view.amount > 0 else 'up'}"
        case "scale":
            return "half the size" if view.amount == 0.5 else f"{view.amount:.2g} times the size"
        case "crop":
            return f"{_whole_percent(view.amount)} of each side, {view.where}"
    return "mirrored"


def percent(probability: float) -> str:
    """Never 0 % or 100 % for a probability that is not exactly 0 or 1."""
    if 0.995 <= probability < 1:
        return "over 99 %"
    return "under 1 %" if 0 < probability < 0.005 else _whole_percent(probability)


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"
