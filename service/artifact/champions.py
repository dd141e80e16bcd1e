"""Which version was champion when: one JSON line per change, only ever appended. Rolling back reads it.

Champions form a stack. Promoting pushes a version; rolling back pops every version above the one it goes back to.
After 1, 2, 3 were promoted, two rollbacks lead to 2 and then to 1. Another rollback never leads back to 3; promoting
3 does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from handful.service.artifact.atomic import append_line
from pydantic import BaseModel, ConfigDict, ValidationError


class Change(BaseModel):
    """One move of the champion's pointer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    former: str | None
    champion: str
    rollback: bool


def record(path: Path, former: str | None, champion: str, *, rollback: bool) -> None:
    """Appends one change. Call it before the pointer moves: if the pointer then does not move, the pointer counts."""
    change = Change(at=datetime.now(UTC), former=former, champion=champion, rollback=rollback)
    append_line(path, change.model_dump_json())


def changes(path: Path) -> list[Change]:
    """Oldest first; lines that a crash cut short are left out."""
    if not path.is_file():
        return []
    read = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            read.append(Change.model_validate_json(line))
        except ValidationError:
            continue
    return read


def stack(changes: Iterable[Change], champion: str | None) -> list[str]:
    """Versions that were champion, oldest first, the present champion last."""
    versions: list[str] = []
    for change in changes:
        versions = _popped_to(versions, change.former)
        rolled_back = change.rollback or versions[-1:] == [change.champion]
        versions = _popped_to(versions, change.champion) if rolled_back else [*versions, change.champion]
    return _popped_to(versions, champion)


def _popped_to(versions: list[str], version: str | None) -> list[str]:
    """Without what lies above the version's last occurrence; with the version pushed if it does not occur."""
    if version is None:
        return versions
    if version not in versions:
        return [*versions, version]
    return versions[: len(versions) - versions[::-1].index(version)]
