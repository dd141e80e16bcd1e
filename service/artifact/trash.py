"""What was deleted on the page, kept for an hour so that it can be put back.

HANDFUL_HOME/.trash/TOKEN/moved.json   what lay where, written before anything moves
HANDFUL_HOME/.trash/TOKEN/0, 1, ...    the files and folders themselves, moved here by a rename
HANDFUL_HOME/.trash/TOKEN/whole        written once all have moved; without it a later `sweep` puts them back
HANDFUL_HOME/.trash/lock               held while anything moves

A kill at any instant loses nothing: what has moved is in the table, and what has not lies where it lay.
"""

from __future__ import annotations

import filecmp
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from handful.service.artifact.atomic import (
    locked,
    private_folder,
    replace_text,
    scratch_folder,
    sweep,
    sync_folder,
)
from handful.service.artifact.errors import NothingToUndo, UndoTaken
from handful.service.artifact.store import home
from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER, TABLE, WHOLE, LOCK = ".trash", "moved.json", "whole", "lock"
KEPT = timedelta(hours=1)
_TOKEN = re.compile(r"[0-9a-f]{32}")


class Trashed(NamedTuple):
    """What the caller of a deletion is told: `undo(token)` works until then."""

    token: str
    until: datetime


class _Moved(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    undone: str
    merge: bool
    paths: list[str]  # relative to the home, in the order of the numbers that they lie under now
    now: list[str] | None = None  # where they lie instead, if they were only moved; relative to the home, too


class Trash:
    """Of one home; every method moves files, so none may be called in the event loop."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or home()
        self.folder = self.root / FOLDER

    def put(self, paths: Sequence[Path], undone: str, *, merge: bool = False) -> Trashed:
        """Moves files and folders below the home away; those that are gone already are left out.

        `undone` is the sentence that `undo` returns. With `merge`, a folder that exists again by then gets back what
        it lacks, and a file of another content under the same name a free name; else `undo` raises `UndoTaken`.
        """
        moved = _Moved(at=datetime.now(UTC), undone=undone, merge=merge, paths=self._relative(paths))
        return self._move(moved, paths)

    def move(self, pairs: Sequence[tuple[Path, Path]], undone: str) -> Trashed:
        """Moves files from the first path of each pair to the second, which is free; `undo` moves them back.

        Those that are gone already are left out. Nothing is erased later but the way back.
        """
        before, now = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        paths, targets = self._relative(before), self._relative(now)
        return self._move(_Moved(at=datetime.now(UTC), undone=undone, merge=True, paths=paths, now=targets), before)

    def _relative(self, paths: Iterable[Path]) -> list[str]:
        return [PurePosixPath(path.relative_to(self.root).as_posix()).as_posix() for path in paths]

    def _move(self, moved: _Moved, paths: Sequence[Path]) -> Trashed:
        private_folder(self.folder)
        token = secrets.token_hex(16)
        folder = self.folder / token
        with locked(self.folder / LOCK):
            private_folder(folder)
            replace_text(folder / TABLE, moved.model_dump_json())
            sync_folder(self.folder)
            targets = self._targets(folder, moved)
            for path, target in zip(paths, targets, strict=True):
                with suppress(FileNotFoundError):
                    _move(path, target)
            _sync([*(path.parent for path in targets), *(path.parent for path in paths)])
            replace_text(folder / WHOLE, "")
        return Trashed(token, moved.at + KEPT)

    def _targets(self, folder: Path, moved: _Moved) -> list[Path]:
        """Where what was moved lies now."""
        if moved.now is not None:
            return [self.root / path for path in moved.now]
        return [folder / str(number) for number in range(len(moved.paths))]

    def undo(self, token: str) -> str:
        """Puts everything back where it lay and returns the sentence that says so.

        Raises `NothingToUndo` if there is nothing under this token (any more), and `UndoTaken`, having moved nothing.
        """
        folder = self.folder / token
        if not _TOKEN.fullmatch(token) or not folder.is_dir():
            raise _nothing()
        with locked(self.folder / LOCK):
            moved = _table(folder)
            if moved is None or datetime.now(UTC) > moved.at + KEPT:
                raise _nothing()
            self._put_back(folder, moved)
            shutil.rmtree(folder, ignore_errors=True)
        return moved.undone

    def sweep(self) -> None:
        """Erases what was deleted over an hour ago, and puts back what a killed process had half moved."""
        if not self.folder.is_dir():
            return
        sweep(self.folder)
        with locked(self.folder / LOCK):
            old = [folder for folder in self._folders() if self._is_over(folder)]
            if not old:
                return
            doomed = scratch_folder(self.folder)
            for folder in old:
                folder.rename(doomed / folder.name)
        shutil.rmtree(doomed, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        return (each for each in self.folder.iterdir() if _TOKEN.fullmatch(each.name) and each.is_dir())

    def _is_over(self, folder: Path) -> bool:
        """Whether it may be erased. Only for the holder of the lock: whoever moved it then has ended."""
        moved = _table(folder)
        if moved is None:  # nothing moves before the table is there
            return not (folder / "0").exists()
        if not (folder / WHOLE).exists():
            with suppress(UndoTaken):
                self._put_back(folder, moved)
                return True
        return datetime.now(UTC) > moved.at + KEPT

    def _put_back(self, folder: Path, moved: _Moved) -> None:
        before = [self.root / path for path in moved.paths]
        pairs = list(zip(self._targets(folder, moved), before, strict=True))
        pairs = [(kept, target) for kept, target in pairs if os.path.lexists(kept)]
        if not moved.merge and (taken := [target for _, target in pairs if _is_taken(target)]):
            where = taken[0].relative_to(self.root).as_posix()
            raise UndoTaken(f"Something new lies where this would come back ({where}); rename or delete that first.")
        for kept, target in pairs:
            target.parent.mkdir(parents=True, exist_ok=True)
            _restore(kept, target)
        _sync(target.parent for _, target in pairs)


def _nothing() -> NothingToUndo:
    return NothingToUndo("There is nothing to undo here: it was undone already, or more than an hour has passed.")


def _table(folder: Path) -> _Moved | None:
    try:
        return _Moved.model_validate_json((folder / TABLE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _is_taken(target: Path) -> bool:
    """Whether something lies there that must not be mixed with what comes back; an empty folder is nothing."""
    if target.is_dir():
        return any(target.iterdir())
    return os.path.lexists(target)


def _restore(kept: Path, target: Path) -> None:
    """Moves it there; into a folder that exists it moves one by one, and beside another file under a free name."""
    if target.is_dir() and kept.is_dir():
        for each in list(kept.iterdir()):
            _restore(each, target / each.name)
        return
    if os.path.lexists(target):
        if target.is_file() and kept.is_file() and filecmp.cmp(kept, target, shallow=False):
            return
        numbers = range(2, 1 << 31)
        free = (target.with_name(f"{target.stem}-{number}{target.suffix}") for number in numbers)
        target = next(path for path in free if not os.path.lexists(path))
    _move(kept, target)


def _move(path: Path, target: Path) -> None:
    """By a rename; where the two lie on different disks the copy is whole before the original goes."""
    shutil.move(path, target)


def _sync(folders: Iterable[Path]) -> None:
    for folder in set(folders):
        with suppress(FileNotFoundError):
            sync_folder(folder)
