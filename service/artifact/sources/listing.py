"""What every source ends in: files with their labels, in parts, and what was found wrong on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from handful.service.artifact.errors import DataError
from handful.service.artifact.image_files import relative_name
from handful.service.artifact.label_names import is_other, labels_error, normal_label

_PART = re.compile(
    r"(?:[a-z0-9]+[ _.-]+)?(?P<role>train(?:ing)?|trn|val(?:id(?:ation)?)?|dev|test(?:ing)?|tst|h[eo]ld[ _-]?out)"
    r"(?:[ _.-]*(?:set|data|dataset|images?|imgs?|photos?|pictures|pics|split|part|folder|files?))*[ _.-]*\d*"
)
_ROLES = {"tr": "train", "va": "val", "de": "val", "te": "test", "ts": "test", "ho": "test", "he": "test"}
ROLES = ("train", "val", "test")  # in this order


class SourcePhoto(NamedTuple):
    """One file, as its source lists it."""

    path: Path
    label: str  # empty where the source tells none


class SourceProblem(NamedTuple):
    """What is wrong with one file, row or label of a source; kinds as those of an inspection."""

    path: str
    kind: str
    detail: str


@dataclass(frozen=True)
class PhotoPart:
    """The photos of one part, or of a source that is not divided; labels are in the order of their names."""

    root: Path  # names of photos are relative to it
    photos: tuple[SourcePhoto, ...]
    labels: tuple[str, ...]  # those without a photo too
    problems: tuple[SourceProblem, ...] = ()
    name: str = ""  # as its folder or split is called; empty where there are no parts
    role: str = ""  # one of ROLES

    @classmethod
    def of(
        cls,
        root: Path,
        photos: Iterable[SourcePhoto],
        problems: Iterable[SourceProblem] = (),
        *,
        labels: Iterable[str] = (),
        name: str = "",
    ) -> PhotoPart:
        """In an order that does not depend on the source's: by label, then by path."""
        ordered = sorted(photos, key=lambda photo: (photo.label, photo.path.parts))
        named = {*labels, *(photo.label for photo in ordered if photo.label)}
        return cls(root, tuple(ordered), tuple(sorted(named)), tuple(problems), name, part_role(name) or "")


@dataclass(frozen=True)
class PhotoSource:
    """A source that has been read: what it was taken for, the part to learn from, and the parts to measure on."""

    source: str  # as a person called it
    kind: str
    train: PhotoPart
    held_out: tuple[PhotoPart, ...] = ()
    notes: tuple[str, ...] = ()  # to be said, beside the kind

    @property
    def read_as(self) -> str:
        """What it was read as, in one line."""
        parts = [self.train, *self.held_out]
        photos = sum(len(part.photos) for part in parts)
        labels = sum(not is_other(label) for label in self.train.labels)
        named = ", ".join(f"{part.name} {len(part.photos):,}" for part in parts) if self.held_out else ""
        counts = [f"{photos:,} {'photo' if photos == 1 else 'photos'}{f' ({named})' if named else ''}"]
        counts += [f"{labels} {'label' if labels == 1 else 'labels'}"] if labels else []
        counts += ["and photos of no label"] if labels < len(self.train.labels) else []
        return f"read as: {', '.join([self.kind, *self.notes, *counts])}"


def part_role(name: str) -> str | None:
    """`train`, `val` or `test` for the usual names of a part, such as Training, valid or test_set; else None."""
    match = _PART.fullmatch(normal_label(name).strip().lower())
    return _ROLES[match["role"][:2]] if match else None


def divided(parts: Sequence[PhotoPart]) -> tuple[PhotoPart, tuple[PhotoPart, ...]]:
    """The part to learn from, and the others in the order of `ROLES`. A single part is not divided.

    `DataError` where several parts have nothing to learn from.
    """
    train = [part for part in parts if part.role == "train"]
    if len(parts) == 1:
        return parts[0], ()
    if len(train) != 1:
        names = ", ".join(part.name for part in parts)
        raise DataError(f"The parts are {names}; exactly one part to learn from, named train, is needed beside others.")
    return train[0], tuple(sorted((p for p in parts if p is not train[0]), key=lambda p: (ROLES.index(p.role), p.name)))


def check_labels(labels: Iterable[str], source: str) -> None:
    """`DataError` for what cannot be a label."""
    if error := labels_error(sorted(set(labels))):
        raise DataError(f"{source}: {error}; give it another name.")


def name_below(path: Path, root: Path) -> str:
    """The path relative to the root, or the whole path where it lies elsewhere."""
    return relative_name(path, root) if path.is_relative_to(root) else relative_name(path, Path(path.anchor))
