"""The files of a report: one self-contained HTML page, and its pictures as PNG files beside it.

The page has no script and no link, and contains every picture. Its reader is the person who took the photos, so every
number stands with its meaning and its uncertainty.
"""

from __future__ import annotations

import base64
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.service.artifact.atomic import private_file, private_folder
from handful.training.report.plots import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ReportPage:
    """Collects the pictures of a report, then writes the page and the pictures."""

    def __init__(self) -> None:
        self._pictures: dict[str, bytes] = {}

    def add(self, name: str, png: bytes) -> str:
        """The picture as a data URI for the page; it is also written as a file `name`."""
        self._pictures[name] = png
        return data_uri("image/png", png)

    def plot(self, name: str, figure: Figure) -> str:
        return self.add(name, png(figure))

    def write(self, folder: Path, template: str, **variables: Any) -> Path:
        """Writes report.html and the PNGs; returns the page's path."""
        html = render_page(template, variables)
        private_folder(folder)
        for name, picture in self._pictures.items():
            private_file(folder / name).write_bytes(picture)
        page = private_file(folder / "report.html")
        page.write_bytes(html.encode("utf-8", "backslashreplace"))  # a folder's name may hold any bytes
        return page


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def render_page(template: str, variables: dict[str, Any]) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = _percent
    return environment.get_template(template).render(**variables)


def _template(name: str) -> str:
    return resources.files("handful.training.report").joinpath(name).read_text(encoding="utf-8")


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"
