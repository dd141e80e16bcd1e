"""A model as one thing: its versions and its photo library are made, renamed and deleted together.

HANDFUL_HOME/models/.lock            held while any model changes its name or is deleted
HANDFUL_HOME/models/.renaming.json   the old and the new name, while the folders move: a killed renaming is finished

Version numbers are never used twice under one name, so a name keeps its `highest` when its versions go elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from handful.service.artifact.atomic import locked, private_folder, replace_text, sync_folder
from handful.service.artifact.card import json_object
from handful.service.artifact.errors import ArtifactError, NothingToUndo, UndoTaken
from handful.service.artifact.folder import CARD, MODEL_CARD, read_card
from handful.service.artifact.label_names import normal_label
from handful.service.artifact.model_card import render_model_card
from handful.service.artifact.names import can_be_name
from handful.service.artifact.store import CHAMPION, CHAMPIONS, HIGHEST, LOCK
from handful.service.artifact.trash import Trash, Trashed
from handful.service.http.filenames import casefolded, filename_error, quoted
from handful.service.http.model_errors import ModelExists, NameWrong, UndoOver, UndoRefused
from handful.service.models.catalogue import PHOTOS, Catalogue

CHANGING, RENAMING = ".lock", ".renaming.json"


class ModelChanges:
    """Every method moves folders, so none may be called in the event loop. Each may raise OSError."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.models, self.photos = catalogue.store.models, catalogue.root / PHOTOS
        self.trash = Trash(catalogue.root)

    def create(self, name: str) -> str:
        """An empty photo library; returns the name in its usual form. Raises `NameWrong` or `ModelExists`."""
        name = checked_name(name)
        with self._changing():
            self._check_free(name)
            private_folder(self.photos / name)
            sync_folder(self.photos)
        return name

    def rename(self, old: str, new: str) -> str:
        """Returns the new name in its usual form. Raises `ModelUnknown`, `NameWrong` or `ModelExists`."""
        new = checked_name(new)
        with self._changing():
            self.catalogue.check(old)
            if new != old:
                self._check_free(new, but=old)
                replace_text(self.models / RENAMING, json.dumps({"old": old, "new": new}))
                self._finish()
        return new

    def delete(self, name: str) -> Trashed:
        """Everything of it lies in the trash for an hour. Raises `ModelUnknown`."""
        with self._changing():
            self.catalogue.check(name)
            folder, versions = self.models / name, self.catalogue.store.versions(name)
            champion = self.catalogue.champion(name)
            versions.sort(key=lambda version: version == champion)  # it goes last, and the pointers after it
            with locked(folder / LOCK) if versions else nullcontext():
                if versions:
                    self._keep_highest(name)
                paths = [folder / each for each in (*versions, CHAMPION, CHAMPIONS)]
                return self.trash.put([*paths, self.photos / name], f"{name} is back, with all versions and photos.")

    def undo(self, token: str) -> str:
        """Brings back what was deleted and returns the sentence that says so. Raises `UndoOver` or `UndoRefused`."""
        with self._changing():
            try:
                return self.trash.undo(token)
            except NothingToUndo as e:
                raise UndoOver(str(e)) from e
            except UndoTaken as e:
                raise UndoRefused(str(e)) from e

    def finish(self) -> None:
        """Ends a renaming that was killed, and erases what was deleted over an hour ago."""
        if (self.models / RENAMING).exists():  # else nothing is written: the home may be read-only
            with self._changing():
                pass
        self.trash.sweep()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self.models.mkdir(parents=True, exist_ok=True)
        with locked(self.models / CHANGING):
            self._finish()
            yield

    def _check_free(self, name: str, but: str | None = None) -> None:
        for existing in self.catalogue.names():
            if existing != but and casefolded(existing) == casefolded(name):
                raise ModelExists(f"There is a model {quoted(existing)} already; choose another name.")

    def _finish(self) -> None:
        """Moves what has not moved yet. Only for the holder of the lock."""
        note = self.models / RENAMING
        try:
            names = json.loads(note.read_text(encoding="utf-8"))
            old, new = str(names["old"]), str(names["new"])
        except FileNotFoundError:
            return
        if (self.photos / old).is_dir() and not _has_any(self.photos / new):
            (self.photos / old).replace(self.photos / new)
            sync_folder(self.photos)
        if self.catalogue.store.versions(old):
            self._move_versions(self.models / old, self.models / new)
        for version in self.catalogue.store.versions(new):
            with suppress(ArtifactError, OSError, ValueError):
                _rename_in_card(self.models / new / version, old, new)
        note.unlink()

    def _move_versions(self, before: Path, after: Path) -> None:
        """One by one, as somebody may wait for the lock in either folder.

        The pointers are there first and go last: whichever name is asked for meanwhile, no other version answers.
        """
        after.mkdir(exist_ok=True)
        with locked(before / LOCK), locked(after / LOCK):
            highest = max(self._keep_highest(before.name), self.catalogue.store.highest(after.name))
            replace_text(after / HIGHEST, f"{highest}\n")
            pointers = [file for file in (CHAMPIONS, CHAMPION) if (before / file).is_file()]
            for file in pointers:
                replace_text(after / file, (before / file).read_text(encoding="utf-8"))
            for version in self.catalogue.store.versions(before.name):
                (before / version).rename(after / version)
            sync_folder(after)
            sync_folder(before)
            for file in pointers:
                (before / file).unlink()

    def _keep_highest(self, name: str) -> int:
        """Writes down the highest version number that the name ever had."""
        highest = self.catalogue.store.highest(name)
        replace_text(self.models / name / HIGHEST, f"{highest}\n")
        return highest


def _has_any(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def checked_name(name: str) -> str:
    """In its usual form. Raises `NameWrong`."""
    name = normal_label(name)
    if error := filename_error(name):
        raise NameWrong(f"The name {quoted(name)} {error}; it must be usable as a folder's name.")
    if not can_be_name(name):
        raise NameWrong(
            f"The name {quoted(name)} is not allowed; 1 to 100 letters, digits, spaces and . _ + - are, the first a"
            " letter or a digit."
        )
    return name


def _rename_in_card(folder: Path, old: str, new: str) -> None:
    raw: dict[str, Any] = json_object((folder / CARD).read_text(encoding="utf-8"))
    if raw.get("name") != old:
        return
    raw["name"] = new
    for part, key in ((raw, "parent"), (raw.get("gate") or {}, "champion")):
        if isinstance(model := part.get(key), str) and model.startswith(f"{old}:"):
            part[key] = new + model.removeprefix(old)
    replace_text(folder / CARD, json.dumps(raw, indent=2, ensure_ascii=False) + "\n")
    replace_text(folder / MODEL_CARD, render_model_card(read_card(folder)))
