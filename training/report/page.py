"""A report's files: one page that asks for nothing else, and its pictures beside it.

No script, no link to outside, every picture inside. It is read by the person who took the photos, so every number comes
with what it means, and with how little it may mean.
"""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path
from typing import Any

MAX_PROBLEMS = 200


class ReportPage:
    """Gathers pictures, then writes everything."""

    def __init__(self) -> None:
        self._pictures: dict[str, bytes] = {}

    def add(self, name: str, png: bytes) -> str:
        """The picture's address on the page; a file `name` will lie beside it."""
        self._pictures[name] = png
        return data_uri("image/png", png)

    def write(self, folder: Path, template: str, **found: Any) -> Path:
        """report.html and the PNGs; the page's path."""
        html = _render(template, found)
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in self._pictures.items():
            (folder / name).write_bytes(picture)
        page = folder / "report.html"
        page.write_bytes(html.encode("utf-8", "backslashreplace"))  # folders may have any bytes as name
        return page


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _render(template: str, found: dict[str, Any]) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = _percent
    return environment.get_template(template).render(**found)


def _template(name: str) -> str:
    return resources.files("handful.training.report").joinpath(name).read_text(encoding="utf-8")


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"
