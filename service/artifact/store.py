"""Artifacts on disk: one folder per version, immutable, published by one rename; one champion pointer per name.

HANDFUL_HOME/models/NAME/VERSION/      an artifact
HANDFUL_HOME/models/NAME/champion      the version being served, replaced atomically
HANDFUL_HOME/models/NAME/champions     which version was champion when
HANDFUL_HOME/models/NAME/highest       the highest version number in use when a version was last deleted
HANDFUL_HOME/models/NAME/lock          held by the process that moves the pointer, publishes or deletes
HANDFUL_HOME/cache/                    embeddings

A version number is never used twice, even after all versions of a name were deleted: cards, Bentos and repositories
on the Hub refer to it. A version that comes back from elsewhere comes back under its number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import platformdirs
from handful.service.artifact import champions
from handful.service.artifact.atomic import (
    locked,
    partial_folder,
    protect,
    rename_unless_taken,
    replace_text,
    sweep,
    sync_folder,
    sync_tree,
)
from handful.service.artifact.errors import ArtifactError, HandfulError, ModelNotFound, UsageError
from handful.service.artifact.folder import PERSONAL, open_artifact, read_card
from handful.service.artifact.names import check_name, is_name

CHAMPION, CHAMPIONS, HIGHEST, LOCK = "champion", "champions", "highest", "lock"


def home() -> Path:
    """`HANDFUL_HOME`, else the platform's user data folder."""
    given = os.environ.get("HANDFUL_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("handful", appauthor=False))


class Store:
    """All names and versions under one home."""

    def __init__(self, root: Path | None = None) -> None:
        self.models = (root or home()) / "models"

    def names(self) -> list[str]:
        if not self.models.is_dir():
            return []
        return sorted(p.name for p in self.models.iterdir() if is_name(p.name) and self._versions(p))

    def versions(self, name: str) -> list[str]:
        """Oldest first."""
        return self._versions(self.models / check_name(name))

    def _versions(self, folder: Path) -> list[str]:
        if not folder.is_dir():
            return []
        return sorted((p.name for p in folder.iterdir() if p.name.isdecimal() and p.is_dir()), key=int)

    def champion(self, name: str) -> str | None:
        """The version that the pointer names, even if it was deleted; None before the first.

        If the pointer was lost, the latest champion that still exists: the newest version may never have been promoted.
        """
        return self._read_line(name, CHAMPION) or self._last_champion(name)

    def _last_champion(self, name: str) -> str | None:
        existing = self.versions(name)
        stack = champions.stack(champions.changes(self.models / name / CHAMPIONS), None)
        return next((version for version in reversed(stack) if version in existing), None)

    def _read_line(self, name: str, file: str) -> str | None:
        try:
            text = (self.models / check_name(name) / file).read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return None
        return text or None

    def served(self, name: str) -> str:
        """The champion, else the newest version; raises `ModelNotFound` if the champion no longer exists."""
        champion, versions = self.champion(name), self.versions(name)
        if not versions:
            raise self._no_model(name)
        if champion is None or champion in versions:
            return champion or versions[-1]
        raise ModelNotFound(
            f"The champion of {name} is version {champion}, which no longer exists: `handful models promote"
            f" {name}:VERSION` makes another version the champion; versions of {name}: {', '.join(versions)}."
        )

    def promote(self, name: str, version: str, *, over: str | None = None) -> bool:
        """Makes the version the champion by one atomic replacement, after verifying its files.

        With `over`, only if that version is still the champion, else returns False: the new version was compared with
        no other.
        """
        self._verify(name, version)
        return self._point(name, version, over=over)

    def rollback(self, name: str, to: str | None = None) -> str:
        """Makes the previous champion, or the earlier one named, the champion again, and returns it.

        Its files are verified first; deleted versions are skipped. `champions` says how rollbacks follow each other.
        """
        served, earlier = self.champion(name) or self.served(name), self.earlier_champions(name)
        if to is not None and to not in earlier:
            known = ", ".join(earlier) or "none"
            raise UsageError(f"--to is {to!r}; earlier champions of {name} that still exist: {known}.")
        if not earlier:
            raise UsageError(
                f"{name} has no champion before {name}:{served} to go back to;"
                f" `handful models promote {name}:VERSION` chooses any version."
            )
        version = to or earlier[0]
        self._verify(name, version)
        self._point(name, version, rollback=True)
        return version

    def _verify(self, name: str, version: str) -> None:
        path = self.path(name, version)
        try:
            open_artifact(path)
        except (HandfulError, OSError):
            self.path(name, version)  # raises `ModelNotFound` if it was deleted while it was read
            raise

    def earlier_champions(self, name: str) -> list[str]:
        """The latest first, each once; only versions that still exist, without the present champion."""
        champion, existing = self.champion(name), self.versions(name)
        before = champions.stack(champions.changes(self.models / name / CHAMPIONS), champion)[:-1]
        return [version for version in dict.fromkeys(reversed(before)) if version in existing and version != champion]

    def _point(self, name: str, version: str, *, rollback: bool = False, over: str | None = None) -> bool:
        with locked(self.models / name / LOCK):
            self.path(name, version)  # it may have been deleted while it was read
            former = self.champion(name)
            if over is not None and former != over:
                return False
            if version != self._read_line(name, CHAMPION):
                self._move_pointer(name, former, version, rollback=rollback)
        return True

    def _move_pointer(self, name: str, former: str | None, version: str, *, rollback: bool = False) -> None:
        """Only for the holder of the lock."""
        champions.record(self.models / name / CHAMPIONS, former, version, rollback=rollback)
        replace_text(self.models / name / CHAMPION, version + "\n")

    def delete(self, name: str, version: str | None = None) -> list[str]:
        """Deletes one version, or all versions of a name; returns those deleted, oldest first.

        Each disappears by one rename and is then deleted file by file. A running service keeps what it serves in
        memory. Raises `UsageError` for the champion while other versions exist.
        """
        if not self.versions(name):
            raise self._no_model(name)
        with locked(self.models / name / LOCK):
            return self._delete(name, version)

    def _delete(self, name: str, version: str | None) -> list[str]:
        """Only for the holder of the lock."""
        versions = self.versions(name)
        if not versions:
            raise self._no_model(name)
        if version is not None:
            self.path(name, version)
        doomed = versions if version is None else [version]
        champion = self.champion(name) or versions[-1]
        if champion in doomed and doomed != versions:
            raise UsageError(
                f"{name}:{champion} is the champion, and there are other versions: make one of them the champion first"
                f" (`handful models promote {name}:VERSION`), or delete all of them (`handful models delete {name}`)."
            )
        folder = self.models / name
        sweep(folder)
        replace_text(folder / HIGHEST, f"{self.highest(name)}\n")
        for each in sorted(doomed, key=lambda each: each == champion):  # the champion last
            with partial_folder(folder) as partial:
                (folder / each).rename(partial / each)
                sync_folder(folder)
        if not self.versions(name):
            for file in (CHAMPION, CHAMPIONS):
                (folder / file).unlink(missing_ok=True)
        return doomed

    def highest(self, name: str) -> int:
        """The highest version number that was ever used; 0 before the first."""
        written = self._read_line(name, HIGHEST) or ""
        return max([int(written) if written.isdecimal() else 0, *map(int, self.versions(name))])

    def path(self, name: str, version: str) -> Path:
        path = self.models / check_name(name) / version
        if not version.isdecimal() or not path.is_dir():
            known = ", ".join(self.versions(name)) or "none"
            raise ModelNotFound(f"There is no model {name}:{version}; versions of {name}: {known}.")
        return path

    def resolve(self, model: str | None = None) -> Path:
        """`NAME:VERSION`, `NAME` (its champion) or None (the only name in the store) -> the artifact's folder."""
        name, _, version = (model or self._only_name()).partition(":")
        if name not in self.names():
            raise self._no_model(name)
        return self.path(name, version or self.served(name))

    def champion_path(self, name: str) -> Path:
        """The folder of the version that answers; raises `ModelNotFound`."""
        return self.path(name, self.served(name))

    def oldest(self) -> str:
        """The model that was made first, which stays so whatever others are made; raises `ModelNotFound`."""
        names = self.names()
        if len(names) < 2:
            return self._only_name()
        return min(names, key=self._made_at)

    def _made_at(self, name: str) -> tuple[float, str]:
        """When its first version was; one whose card cannot be read counts as new."""
        try:
            made = read_card(self.path(name, self.versions(name)[0])).created_at.timestamp()
        except (ArtifactError, LookupError, OSError):
            made = math.inf
        return made, name

    def _no_model(self, name: str) -> ModelNotFound:
        known = ", ".join(self.names()) or "none yet: run `handful train FOLDER`"
        return ModelNotFound(f"There is no model named {name!r}; models here: {known}.")

    def _only_name(self) -> str:
        names = self.names()
        if len(names) == 1:
            return names[0]
        if not names:
            raise ModelNotFound("There is no model yet; `handful train FOLDER` makes one.")
        raise UsageError(f"Which model? Say --model NAME; models here: {', '.join(names)}.")

    def publish(self, name: str, write: Callable[[Path, str], None], number: int | None = None) -> Path:
        """Calls `write(folder, version)` on a hidden folder, then makes it visible by one rename.

        The first version of a name becomes its champion. If the process is killed at any moment, either the whole
        version exists or none. `number` is the one that the version has where it comes from; it gets another one only
        if a version here has that.
        """
        folder = self.models / check_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        with partial_folder(folder) as partial:
            while True:
                is_free = number is not None and not (folder / str(number)).exists()
                version = str(number if is_free else self.highest(name) + 1)
                write(partial, version)
                for personal in PERSONAL:
                    protect(partial / personal)
                sync_tree(partial)
                with locked(folder / LOCK):
                    used = not is_free and self.highest(name) >= int(version)  # even if only for a time
                    if not used and self._rename_into_place(partial, name, version):
                        return folder / version

    def _rename_into_place(self, partial: Path, name: str, version: str) -> bool:
        """Renames it into place; False if another process has taken the number meanwhile."""
        if not rename_unless_taken(partial, self.models / name / version):
            return False
        former = self.champion(name)
        if former != version and (former is None or self.versions(name) == [version]):
            self._move_pointer(name, former, version)
        return True
