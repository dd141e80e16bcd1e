"""Whether the text of the plots can be read: its contrast, and its size on a phone."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from handful.service.terminal.label_text import drawable_names
from handful.training.report.learning_curve import LearningCurve
from handful.training.report.plots import (
    WIDTH,
    MapPoints,
    confusion_plot,
    learning_plot,
    map_plot,
    refusal_plot,
    reliability_plot,
)
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

PHONE = 390 - 2 * 16  # CSS pixels between the margins of the page
LEAST_CONTRAST = 4.5  # WCAG 2, AA
LEAST_PIXELS = 10.0
RANDOM = np.random.default_rng(0)
LONG = [f"a label with a long name, number {number}" for number in range(12)]


def confusion_of(count: int) -> Figure:
    counts = np.arange(count * count).reshape(count, count) * 7
    return confusion_plot(counts, drawable_names(LONG[:count]), range(1, count + 1))


def figures() -> Iterator[tuple[str, Figure]]:
    confidence, right = RANDOM.uniform(0.4, 1, 80), RANDOM.random(80) < 0.8
    curve = LearningCurve((2, 4, 8), RANDOM.uniform(0.5, 1, (3, 3)), 0.1, 0.1, 20, thinned=False)
    dots = MapPoints(RANDOM.normal(size=(60, 2)), np.arange(60) % 11 - 1)
    yield from ((f"confusion of {count}", confusion_of(count)) for count in (2, 6, 7, 12))
    yield "reliability", reliability_plot(confidence, right)
    yield "learning curve", learning_plot(curve)
    yield "map", map_plot(dots, drawable_names(LONG[:10]), right[:60])
    yield "refusal", refusal_plot({"photos of its labels": confidence, "photos of other labels": confidence**2}, 0.6)


FIGURES = dict(figures())
Colour = NDArray[np.float64]


def luminance(colour: Colour) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.tolist())
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def contrast(one: Colour, other: Colour) -> float:
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


def inverted(colour: Colour) -> Colour:
    """As a dark page shows it: `filter: invert(1) hue-rotate(180deg)`, whose matrix the Filter Effects module gives."""
    matrix = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])
    rotated: Colour = np.clip(matrix @ (1 - colour), 0, 1)
    return rotated


def texts(figure: Figure) -> list[tuple[Text, Colour]]:
    """Every text that is drawn, and the colour behind it."""
    figure.savefig(io.BytesIO())  # lays it out
    paper = np.array(to_rgb(figure.get_facecolor()))
    behind: list[tuple[Text, Colour]] = []
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text().strip() and text.get_visible():
            behind.append((text, _cell_behind(text, paper)))
    return behind


def _cell_behind(text: Text, paper: Colour) -> Colour:
    axes = text.axes
    if axes is None or not axes.images or text not in axes.texts:
        return paper
    column, row = text.get_position()
    cells = np.asarray(axes.images[0].get_array())
    return np.asarray(cells[int(row), int(column)], dtype=np.float64)


def test_the_measure_knows_black_on_white() -> None:
    assert contrast(np.zeros(3), np.ones(3)) == pytest.approx(21)
    assert contrast(np.array(to_rgb("#777777")), np.ones(3)) == pytest.approx(4.48, abs=0.01)
    np.testing.assert_allclose(inverted(np.ones(3)), np.zeros(3), atol=1e-9)


@pytest.mark.parametrize("name", FIGURES)
def test_all_text_has_enough_contrast_on_a_light_and_on_a_dark_page(name: str) -> None:
    found = texts(FIGURES[name])
    assert len(found) > 5
    for text, behind in found:
        colour = np.array(to_rgb(text.get_color()))
        assert contrast(colour, behind) >= LEAST_CONTRAST, text
        assert contrast(inverted(colour), inverted(behind)) >= LEAST_CONTRAST, text


@pytest.mark.parametrize("name", FIGURES)
def test_all_text_is_legible_on_a_phone(name: str) -> None:
    for text, _ in texts(FIGURES[name]):
        assert float(text.get_fontsize()) / 72 * PHONE / WIDTH >= LEAST_PIXELS, text


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    figure = FIGURES[name]
    figure.savefig(io.BytesIO())  # lays it out
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) >= -0.02
    assert drawn.x1 <= width + 0.02
    assert drawn.y1 <= height + 0.02


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert len(set(drawable_names(LONG))) == len(LONG)
