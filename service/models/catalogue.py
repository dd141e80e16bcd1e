"""What the store and the photo libraries hold, as the page shows it. Reads cards and counts files, loads nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import ArtifactError, ModelNotFound
from handful.service.artifact.folder import CARD, read_card
from handful.service.artifact.label_names import is_other, normal_label
from handful.service.artifact.names import can_be_name
from handful.service.artifact.store import CHAMPION, Store, home
from handful.service.http.filenames import is_hidden, quoted
from handful.service.http.library_errors import ModelUnknown
from handful.service.lean.onnx_file import OnnxFile
from handful.service.models.bodies import GateBody, ModelBody, ModelDetail, VerdictBody, VersionBody

PHOTOS = "photos"  # below the home: a photo library per model, a folder per label in it
REPORT = Path("report", "report.html")
MOST_CARDS = 1000  # remembered
MESSAGE_LETTERS = 300


class Catalogue:
    """Every method reads the disk, so none may be called in the event loop."""

    def __init__(self, fixed: Path | None = None) -> None:
        """`fixed`, an artifact's folder or an exported file, is served for ever, under the name in its card."""
        self.root, self.store = home(), Store()
        card = _card_or_none(fixed) if fixed else None
        self._fixed = {card.name: (card.version, fixed)} if card and fixed else {}

    def names(self) -> list[str]:
        return sorted({*self.store.names(), *self.libraries(), *self._fixed}, key=lambda name: (name.casefold(), name))

    def libraries(self) -> list[str]:
        """The names that have a photo library."""
        return [entry.name for entry in _folders(self.root / PHOTOS) if can_be_name(entry.name)]

    def summaries(self, loaded: Iterable[str]) -> list[ModelBody]:
        """Of every model; `loaded` are those in memory."""
        kept, found = set(loaded), []
        for name in self.names():
            folders = self.folders(name)
            found.append(ModelBody(**self._model(name, folders, name in kept), versions=len(folders)))
        return found

    def summary(self, name: str) -> ModelBody:
        """Raises `ModelUnknown`."""
        self.check(name)
        folders = self.folders(name)
        return ModelBody(**self._model(name, folders, loaded=False), versions=len(folders))

    def detail(self, name: str, *, loaded: bool) -> ModelDetail:
        """Raises `ModelUnknown`."""
        self.check(name)
        folders, champion = self.folders(name), self.champion(name)
        card = _card_or_none(folders[champion]) if champion in folders else None
        versions = [_version(version, folders[version], version == champion) for version in reversed(folders)]
        return ModelDetail(**self._model(name, folders, loaded), card=card, versions=versions)

    def is_fixed(self, name: str) -> bool:
        return name in self._fixed

    def check(self, name: str) -> None:
        """Raises `ModelUnknown` if there are neither versions nor a photo library."""
        known = can_be_name(name) and (name in self._fixed or self.store.versions(name) or self.library(name).is_dir())
        if not known:
            raise ModelUnknown(f"There is no model {quoted(name)}; GET /models lists those there are.")

    def folders(self, name: str) -> dict[str, Path]:
        """Version -> folder, oldest first."""
        if name in self._fixed:
            version, folder = self._fixed[name]
            return {version: folder}
        return {version: self.store.models / name / version for version in self.store.versions(name)}

    def folder(self, name: str, version: str) -> Path:
        """Raises `ModelUnknown`."""
        self.check(name)
        folders = self.folders(name)
        if version not in folders:
            known = ", ".join(folders) or "none"
            raise ModelUnknown(f"There is no version {quoted(version)} of {name}; versions: {known}.")
        return folders[version]

    def champion(self, name: str) -> str | None:
        """Its version; None before the first, or if it was deleted."""
        try:
            return next(iter(self.folders(name))) if name in self._fixed else self.store.served(name)
        except ModelNotFound:
            return None

    def library(self, name: str) -> Path:
        return self.root / PHOTOS / name

    def _model(self, name: str, folders: dict[str, Path], loaded: bool) -> dict[str, Any]:  # noqa: FBT001 - a field
        champion, labels = self.champion(name), list(_labels(self.library(name)))
        card = _card_or_none(folders[champion]) if champion in folders else None
        return {
            "name": name,
            "labels": list(card.labels) if card else [label for label, _ in labels if not is_other(label)],
            "champion": champion,
            "changed_at": self._changed_at(name),
            "loaded": loaded,
            "photos": sum(count for _, count in labels),
            **_measured(card),
        }

    def _changed_at(self, name: str) -> datetime | None:
        """When the champion moved last, or a label or photo came or went."""
        library = self.library(name)
        paths = [self.store.models / name / CHAMPION, library, *(Path(each.path) for each in _folders(library))]
        paths += [_card_file(self._fixed[name][1])] if name in self._fixed else []
        times = [path.stat().st_mtime for path in paths if path.exists()]
        return datetime.fromtimestamp(max(times), UTC) if times else None


def _labels(library: Path) -> Iterator[tuple[str, int]]:
    """Each label of a library with its number of photos."""
    for folder in _folders(library):
        with os.scandir(folder.path) as files:
            yield normal_label(folder.name), sum(not is_hidden(file.name) and file.is_file() for file in files)


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.is_dir() and not is_hidden(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda entry: entry.name)


def _version(version: str, folder: Path, champion: bool) -> VersionBody:  # noqa: FBT001 - a field
    broken = None
    try:
        card = card_of(folder)
    except (ArtifactError, OSError) as e:
        card, broken = None, without_paths(str(e), folder, version)
    gate = card and card.gate
    return VersionBody(
        version=version,
        created_at=card and card.created_at,
        champion=champion,
        parent=card and card.parent,
        **_measured(card),
        labels=list(card.labels) if card else [],
        gate=gate and GateBody(promoted=gate.passed, reason=gate.reason),
        report=(folder / REPORT).is_file(),
        broken=broken,
    )


def without_paths(text: str, folder: Path, version: str) -> str:
    """An error's sentence as a client may see it: nothing of where this machine keeps its files."""
    return text.replace(str(folder), f"version {version}")[:MESSAGE_LETTERS]


def _measured(card: ModelCard | None) -> dict[str, Any]:
    if card is None:
        return {"accuracy": None, "accuracy_ci95": None, "verdict": None, "images": 0}
    verdict, measured = card.verdict, card.cross_validation
    return {
        "accuracy": measured.accuracy,
        "accuracy_ci95": measured.accuracy_ci95,
        "verdict": VerdictBody(level=verdict.level, title=verdict.title, sentence=verdict.sentence),
        "images": card.data.images,
    }


def _card_or_none(folder: Path) -> ModelCard | None:
    try:
        return card_of(folder)
    except (ArtifactError, OSError):
        return None


def card_of(path: Path) -> ModelCard:
    """As `read_card`, remembered: a version never changes, but for the name in its card when the model is renamed."""
    return _remembered_card(path, _card_file(path).stat().st_mtime_ns)


def _card_file(path: Path) -> Path:
    """An exported file holds its card."""
    return path if path.is_file() else path / CARD


@lru_cache(MOST_CARDS)
def _remembered_card(path: Path, _: int) -> ModelCard:
    return OnnxFile(path).card if path.is_file() else read_card(path)
