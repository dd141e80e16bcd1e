"""Label names as far as a picture's font can write them."""

from __future__ import annotations

from collections.abc import Sequence

NAME_LENGTH = 20


def drawable_names(labels: Sequence[str]) -> list[str]:
    """Names as far as the font can write them; `#7`, counted from 1, for the others. Needs matplotlib."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = set(get_font(findfont(FontProperties())).get_charmap())
    return [
        _shortened(label) if _plain(label, glyphs) else f"#{number}" for number, label in enumerate(labels, start=1)
    ]


def _shortened(label: str) -> str:
    return label if len(label) <= NAME_LENGTH else f"{label[: NAME_LENGTH - 1]}…"


def _plain(label: str, glyphs: set[int]) -> bool:
    return label.isprintable() and "$" not in label and not label.startswith("_") and glyphs.issuperset(map(ord, label))
