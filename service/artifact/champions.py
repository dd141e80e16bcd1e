"""Who was champion when: one JSON line a change, appended only; what rolling back goes by.

Champions lie on a pile. Promoting lays a version on top; rolling back takes off what lies above the version it goes
back to. So after 1, 2, 3 two rollbacks lead to 2 and then to 1, and a version that was rolled back from is not
come back to by rolling back again; promoting it is how.
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
    """Before the pointer moves: if it then does not, the pointer is what counts."""
    change = Change(at=datetime.now(UTC), former=former, champion=champion, rollback=rollback)
    append_line(path, change.model_dump_json())


def changes(path: Path) -> list[Change]:
    """Oldest first; lines that a crash tore are left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(Change.model_validate_json(line))
        except ValidationError:
            continue
    return found


def pile(of: Iterable[Change], champion: str | None) -> list[str]:
    """Versions that were champion, oldest first, the present one last."""
    versions: list[str] = []
    for change in of:
        versions = _down_to(versions, change.former)
        rolled_back = change.rollback or versions[-1:] == [change.champion]
        versions = _down_to(versions, change.champion) if rolled_back else [*versions, change.champion]
    return _down_to(versions, champion)


def _down_to(versions: list[str], version: str | None) -> list[str]:
    """Cut off above the version's last place; laid on top where it had none."""
    if version is None:
        return versions
    if version not in versions:
        return [*versions, version]
    return versions[: len(versions) - versions[::-1].index(version)]
