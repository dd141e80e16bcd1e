"""The folders of labels below one folder, and what a label from a request may be called."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from handful.service.artifact.formats.kinds import has_boxes, is_avif
from handful.service.artifact.image_files import entries
from handful.service.artifact.label_names import OTHER, is_other, label_error, label_of_name, normal_label, printable
from handful.service.http.errors import LabelUnknown, LabelWrong
from handful.service.http.filenames import casefolded, filename_error, is_hidden, quoted

MAX_LABEL_LETTERS = 100
_SUFFIXES = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp", b"GIF8": "gif", b"BM": "bmp"}


class LabelFolders:
    """Every method reads the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def all(self) -> dict[str, Path]:
        """Label -> its folder, sorted; where two folders stand for one label, the first."""
        folders: dict[str, Path] = {}
        for entry in self._entries():
            folders.setdefault(label_of_folder(entry.name), Path(entry.path))
        return folders

    def of_label(self, label: str) -> Path:
        """Its folder, which an earlier release or a person may have called by another form of the same letters."""
        return self.all().get(label, self.root / label)

    def check_spelling(self, label: str) -> None:
        """Raises `LabelWrong` where a folder differs in capitals alone: some file systems take both for one."""
        for entry in self._entries():
            name = label_of_folder(entry.name)
            if name != label and casefolded(name) == casefolded(label):
                raise LabelWrong(f"The label {quoted(label)} is written {quoted(name)} in the folder.")

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            return [entry for entry in entries(self.root) if entry.is_dir()]
        except FileNotFoundError:
            return []


def label_of_folder(name: str) -> str:
    """The label as text that can be sent and shown."""
    return printable(label_of_name(name)[0])


def check_new_label(label: str) -> str:
    """The label in its normal form. Raises `LabelWrong` if it cannot name a folder."""
    label = normal_label(label)
    if error := _folder_error(label):
        raise LabelWrong(f"The label {quoted(label)} {error}; it must be usable as a folder's name.")
    return OTHER if is_other(label) else label


def check_label(label: str, known: Collection[str], *, new: bool) -> str:
    """The label itself, if it is one of the model's `known` labels or may become one, or stands for none of them.

    Raises `LabelWrong` if it cannot name a folder, and `LabelUnknown` if the model lacks it and it is not meant as new.
    """
    label = normal_label(label)
    if error := _folder_error(label):
        raise LabelWrong(f"The label {quoted(label)} {error}; it must be usable as a folder's name.")
    if label in map(normal_label, known):
        return label
    if similar := [each for each in known if casefolded(each) == casefolded(label)]:
        raise LabelUnknown(f"The model has no label {quoted(label)}; it has {quoted(similar[0])}.")
    if is_other(label):
        return OTHER
    if not new:
        labels = ", ".join(map(quoted, sorted(known)[:10])) + (", …" if len(known) > 10 else "")
        raise LabelUnknown(f"The model has no label {quoted(label)}; it has {labels}. new=true allows a new label.")
    return label


def _folder_error(label: str) -> str | None:
    """Why this cannot be a label, as the end of a sentence."""
    if error := filename_error(label):
        return error
    if is_hidden(label):
        return "would be hidden from training"
    if len(label) > MAX_LABEL_LETTERS:
        return f"is longer than {MAX_LABEL_LETTERS} letters"
    return label_error(label)


def suffix_of(data: bytes) -> str:
    """The ending that a photo's first bytes ask for, without its point."""
    if has_boxes(data):
        return "avif" if is_avif(data) else "heic"
    return next((suffix for magic, suffix in _SUFFIXES.items() if data.startswith(magic)), "tiff")
