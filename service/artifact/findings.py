"""report/findings.json: which training photos were answered wrongly by heads that had not seen them, and whose label
looks wrong. What the report shows, for programs; it says which row of the embeddings and thumbnails a photo is.
"""

from __future__ import annotations

from pathlib import Path

from handful.service.artifact.checks import MAX_TEXT_BYTES
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FINDINGS = Path("report", "findings.json")


class FoundPhoto(BaseModel):
    """A training photo and the answer to it, most confident first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int = Field(ge=0)
    name: str  # relative to the folder that it was learned from
    label: str  # of its folder
    answer: str | None  # None: unknown
    confidence: float | None  # None: a single label, whose probability says nothing
    sha256: str | None  # of its bytes; None where nothing of single photos is kept
    reason: str | None = None  # of a suspected label, as a sentence


class Findings(BaseModel):
    """The photos listed, and how many there are in all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mistakes: tuple[FoundPhoto, ...] = ()
    mistake_count: int = 0
    suspects: tuple[FoundPhoto, ...] = ()
    suspect_count: int = 0


def read_findings(artifact: Path) -> Findings | None:
    """None where the version was made before there were any, or without a report."""
    path = artifact / FINDINGS
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            return None
        return Findings.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
