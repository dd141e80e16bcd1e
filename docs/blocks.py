"""The generated parts of the pages, each between two comments that a reader does not see:

<!-- generated: flags train -->
...
<!-- end -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- generated: (?P<name>[^\n]+?) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)


def blocks(page: Path) -> dict[str, str]:
    """Name -> text of each generated part of a page."""
    return {match["name"]: match["text"].strip("\n") for match in BLOCK.finditer(page.read_text(encoding="utf-8"))}


def replace_blocks(texts: Mapping[str, str]) -> None:
    """Writes these texts into the pages, wherever a part of that name is; other parts stay as they are."""
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = BLOCK.sub(lambda match: _filled(match, texts), old)
        if new != old:
            page.write_text(new, encoding="utf-8")


def _filled(match: re.Match[str], texts: Mapping[str, str]) -> str:
    text = texts.get(match["name"])
    return match[0] if text is None else f"{match[1]}\n{text}\n\n{match[4]}"
