"""Label names as the font of a plot can draw them."""

from __future__ import annotations

from collections.abc import Sequence

NAME_LENGTH = 20


def drawable_names(labels: Sequence[str]) -> list[str]:
    """Each label's name, shortened; `#7`, counted from 1, if the font lacks a letter of it. Needs matplotlib."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = set(get_font(findfont(FontProperties())).get_charmap())
    return [
        _shortened(label) if _drawable(label, glyphs) else f"#{number}" for number, label in enumerate(labels, start=1)
    ]


def _shortened(label: str) -> str:
    """Without its middle, as long names often differ at their ends."""
    return label if len(label) <= NAME_LENGTH else f"{label[:11]}…{label[-8:]}"


def _drawable(label: str, glyphs: set[int]) -> bool:
    """`$` would start a formula, and matplotlib hides legend entries that begin with `_`."""
    return label.isprintable() and "$" not in label and not label.startswith("_") and glyphs.issuperset(map(ord, label))
