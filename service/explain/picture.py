"""An explanation -> one PNG, from the answer at the top to the layers at the bottom, for people who know no networks.

The same explanation gives the same bytes. This module loads matplotlib.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from handful.service.classifier import Classifier
from handful.service.explain.activation import upsampled
from handful.service.explain.explanation import Explanation, explain_photo, explanation_result
from handful.service.explain.stability_panel import PANEL_HEIGHT, draw_stability, percent
from handful.service.explain.stages import FirstLayer, Stage, strongest_maps
from handful.service.terminal.label_text import drawable_names
from handful.service.terminal.output import check_out
from handful.service.terminal.progress import DRAWING, LOOKING_INSIDE, next_stage
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

INK, SOFT, FRAME = "#1d2b3a", "#6a7178", "#f5b301"
BAR, PALE_BAR = "#2f6fae", "#c3ccd4"
WIDTH, DPI = 11.0, 110  # inches, pixels per inch
MOST_BARS = 6
MAPS = 6  # per stage
FILTERS = 8
HEAT = LinearSegmentedColormap.from_list("heat", ["#1f5fd0", "#ffffff", "#e0301e"])  # against, neither, for
OFTEN_SEEN = ("edges and colours", "corners and lines", "textures", "parts of things", "whole things")


def explain_image(
    classifier: Classifier, image: Path, out: Path, *, shift: bool = False, short: bool = False
) -> dict[str, Any]:
    """Writes the picture, of `short` its top row alone, and returns the numbers.

    Raises an `ImageError` that names the file, and `UsageError`.
    """
    check_out(out, [".png"])
    next_stage(LOOKING_INSIDE)
    explanation = explain_photo(classifier, image, shift=shift)
    next_stage(DRAWING)
    part = out.with_name(out.name + ".writing")
    part.write_bytes(draw_explanation(explanation, short=short))
    part.replace(out)
    return {**explanation_result(explanation), "out": str(out)}


def draw_explanation(explanation: Explanation, *, short: bool = False) -> bytes:
    """PNG bytes; of `short` the answer and the photo alone."""
    stages = explanation.outputs.stages
    first = explanation.outputs.first
    rows: list[tuple[float, str]] = [(0.95, "answer"), (3.7, "photo")]
    if not short:
        rows += [(2.3, "first")] if first else []
        rows += [(0.55 + 1.45 * len(stages), "stages")] if stages else []
        rows += [(PANEL_HEIGHT, "stability")] if explanation.stability else []
    heights = [height for height, _ in rows]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained", facecolor="white")
    parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    names = drawable_names(explanation.labels)
    for (_, name), part in zip(rows, parts, strict=True):
        match name:
            case "answer":
                _draw_answer(part, explanation, names)
            case "photo":
                _draw_photo(part, explanation, names)
            case "first" if first:
                _draw_first(part, first)
            case "stages":
                _draw_stages(part, explanation)
            case _ if explanation.stability:
                draw_stability(part, explanation.stability, explanation.input, names[explanation.label])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _draw_answer(part: SubFigure, explanation: Explanation, names: Sequence[str]) -> None:
    best, confidence = names[explanation.label], explanation.prediction.confidence
    if explanation.prediction.unknown:
        title, more = "unknown", f"It resembles no label well enough; the most probable would be {best}."
        if len(explanation.labels) == 1:
            more = f"It does not resemble {best} well enough."
    elif len(explanation.labels) == 1:
        title, more = best, ""
    else:
        title, more = f"{best}, {percent(confidence)} sure", ""
    numbered = best.startswith("#") and best != explanation.labels[explanation.label]
    more += f"  {best} is the label's number; the font lacks letters of its name." if numbered else ""
    part.text(0.02, 0.62, title, fontsize=24, color=INK, fontweight="bold", va="center")
    part.text(0.02, 0.14, f"{more}  Model {explanation.model}.".strip(), fontsize=10, color=SOFT, va="center")


def _draw_photo(part: SubFigure, explanation: Explanation, names: Sequence[str]) -> None:
    whole, heat, bars = part.subplots(1, 3, width_ratios=(1, 1, 0.8))
    left, top, right, bottom = explanation.box
    _show_photo(whole, explanation)
    for x, y, width, height in _outside(explanation):
        whole.add_patch(Rectangle((x, y), width, height, color="white", alpha=0.65, lw=0))
    whole.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=FRAME, lw=3))
    _title(whole, "Your photo", "the network sees the part inside the frame")
    best = names[explanation.label]
    side = explanation.input.width
    values = upsampled(explanation.map.values + explanation.map.bias, side)  # their mean is the label's logit
    values /= max(float(np.abs(values).max()), 1e-12)
    colours = HEAT((values + 1) / 2)  # (S, S, 4)
    colours[..., 3] = 0.2 + 0.5 * np.abs(values)
    width, height = explanation.photo.size
    heat.imshow(explanation.photo.convert("L"), extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=255)
    heat.imshow(colours, extent=(left, right, bottom, top), interpolation="bilinear")
    _keep_whole(heat, explanation)
    if explanation.map.kind == "CAM":
        _title(heat, "Where it looked", f"red speaks for {best}, blue against it")
    else:
        _title(heat, "Where it looked", f"red speaks for {best} ({explanation.map.kind}, an estimate)")
    _draw_bars(bars, explanation, names)


def _draw_bars(axes: Axes, explanation: Explanation, names: Sequence[str]) -> None:
    if len(explanation.labels) == 1:  # its probability is always one
        axes.set_axis_off()
        return
    probabilities = np.array(explanation.prediction.probabilities)
    shown = list(np.argsort(-probabilities, kind="stable")[:MOST_BARS])
    values = [float(probabilities[i]) for i in shown]
    captions = [names[i] for i in shown]
    if len(probabilities) > len(shown):
        values.append(float(probabilities.sum() - sum(values)))
        captions.append(f"{len(probabilities) - len(shown)} others")
    places = np.arange(len(values))
    axes.barh(places, [1.0] * len(values), color="#eef1f4", height=0.5)
    axes.barh(places, values, color=[BAR if i == 0 else PALE_BAR for i in places], height=0.5)
    for place, value, caption in zip(places, values, captions, strict=True):
        axes.text(0, place - 0.32, caption, fontsize=10, color=INK, va="bottom")
        axes.text(1, place - 0.32, percent(value), fontsize=10, color=INK, va="bottom", ha="right")
    axes.set(xlim=(0, 1), ylim=(max(len(values), 4) - 0.4, -0.8))
    axes.set_axis_off()
    unknown = explanation.prediction.unknown
    _title(axes, "How sure it is", "if it had to choose a label" if unknown else "of each label")


def _draw_first(part: SubFigure, first: FirstLayer) -> None:
    chosen = strongest_maps(first.responses, FILTERS)
    grid = part.subplots(2, FILTERS + 1, width_ratios=(1.9, *[1] * FILTERS))
    _heading(grid[0, 0], "First layer", "tiny patterns that the\nnetwork looks for")
    _heading(grid[1, 0], "", "where it finds each in\nyour photo (white), or\nits opposite (black)")
    for axes in grid[:, 1:].flat:
        axes.set_axis_off()
    for column, index in enumerate(chosen, start=1):
        pattern = first.filters[index].transpose(1, 2, 0)  # (k, k, 3)
        scale = 2 * max(float(np.abs(pattern).max()), 1e-12)
        grid[0, column].imshow(0.5 + pattern / scale, interpolation="nearest")
        limit = max(float(np.quantile(np.abs(first.responses[index]), 0.99)), 1e-12)
        grid[1, column].imshow(first.responses[index], cmap="gray", vmin=-limit, vmax=limit)


def _draw_stages(part: SubFigure, explanation: Explanation) -> None:
    stages = explanation.outputs.stages
    part.suptitle(
        "Stage by stage: each picture is one pattern, bright where it is found.  The frame on the photo is what one"
        " point of the stage can see.", fontsize=10, color=SOFT, x=0.02, ha="left",
    )  # fmt: skip
    grid = part.subplots(len(stages), MAPS + 2, width_ratios=(1.9, *[1] * (MAPS + 1)), squeeze=False)
    for number, (stage, row) in enumerate(zip(stages, grid, strict=True)):
        _draw_stage(row, stage, number, explanation)


def _draw_stage(row: NDArray[np.object_], stage: Stage, number: int, explanation: Explanation) -> None:
    last = max(len(explanation.outputs.stages) - 1, 1)
    side = explanation.input.width
    pixels = stage.window.pixels if stage.window else None
    if pixels is None:
        sees = "a point can see\nthe whole photo"
    elif pixels >= side:
        sees = f"a point can see all of it\n({pixels} pixels across)"
    else:
        sees = f"a point can see {pixels} × {pixels}\nof {side} × {side} pixels"
    _heading(row[0], f"Stage {number + 1}", f"often {OFTEN_SEEN[round(number * (len(OFTEN_SEEN) - 1) / last)]}\n{sees}")
    row[1].imshow(explanation.input)
    reach = min(pixels or side, side) - 1
    corner = (side - 1 - reach) / 2
    row[1].add_patch(Rectangle((corner, corner), reach, reach, fill=False, color=FRAME, lw=2.5))
    for axes in row[1:]:
        axes.set_axis_off()
    for axes, index in zip(row[2:], strongest_maps(stage.maps, MAPS), strict=False):
        axes.imshow(stage.maps[index], cmap="magma", interpolation="nearest")


def _show_photo(axes: Axes, explanation: Explanation) -> None:
    width, height = explanation.photo.size
    axes.imshow(explanation.photo, extent=(0, width, height, 0))
    _keep_whole(axes, explanation)


def _keep_whole(axes: Axes, explanation: Explanation) -> None:
    """Leaves a margin, so that the frame's line is not cut at the photo's edge."""
    width, height = explanation.photo.size
    margin = 0.01 * max(width, height)
    axes.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
    axes.set_axis_off()


def _outside(explanation: Explanation) -> list[tuple[float, float, float, float]]:
    """Left, top, width and height of each part of the photo that the network does not see."""
    width, height = explanation.photo.size
    left, top, right, bottom = explanation.box
    return [
        (0, 0, width, top),
        (0, bottom, width, height - bottom),
        (0, top, left, bottom - top),
        (right, top, width - right, bottom - top),
    ]


def _title(axes: Axes, title: str, more: str) -> None:
    axes.set_title(f"{title}\n", fontsize=13, color=INK, loc="left", fontweight="bold")
    axes.text(0, 1.02, more, fontsize=9.5, color=SOFT, transform=axes.transAxes, va="bottom")


def _heading(axes: Axes, heading: str, more: str) -> None:
    axes.set_axis_off()
    axes.text(0.11, 0.86, heading, fontsize=12, color=INK, fontweight="bold", transform=axes.transAxes, va="center")
    axes.text(0.11, 0.66, more, fontsize=9, color=SOFT, transform=axes.transAxes, va="top", linespacing=1.3)
