"""The suggested photos: as rows, as a table on the terminal, and as a contact sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.service.artifact.atomic import private_file
from handful.service.artifact.label_names import printable
from handful.training.report.page import data_uri, render_page
from handful.training.report.thumbnails import jpeg, thumbnail


@dataclass(frozen=True)
class SuggestedPhoto:
    """A photo worth labelling; what the model answers, where there is one."""

    path: Path
    name: str
    label: str | None = None  # None: unknown, or no model
    confidence: float | None = None
    margin: float | None = None
    unknown: bool | None = None

    def row(self) -> dict[str, Any]:
        answer = {"label": self.label, "confidence": self.confidence, "margin": self.margin, "unknown": self.unknown}
        return {"path": self.name, **({} if self.confidence is None else answer)}

    @property
    def answer(self) -> str:
        """As a person reads it; empty without a model."""
        if self.confidence is None:
            return ""
        return "unknown" if self.label is None else f"{self.label} {self.confidence:.0%}"


def write_sheet(out: Path, photos: Sequence[SuggestedPhoto], result: dict[str, Any]) -> None:
    """One self-contained page with a small picture of each photo, the best first. Raises OSError."""
    pictures = []
    for photo in photos:
        image = thumbnail(photo.path)
        uri = None if image is None else data_uri("image/jpeg", jpeg(image.convert("RGB")))
        pictures.append({"name": printable(photo.name), "answer": printable(photo.answer), "picture": uri})
    html = render_page("of_suggestions.html", {"photos": pictures, "result": result})
    private_file(out).write_bytes(html.encode("utf-8", "backslashreplace"))
