"""The folder that labels land in, for `handful train`: a folder per label, and a manifest of all of them.

FOLDER/LABEL/NAME     a hard link to the photo, else a symbolic link, else a copy
FOLDER/manifest.csv   path (relative to FOLDER), label, source (the photo itself)

A photo is put there before the manifest names it and goes before the manifest forgets it, each in one step; a kill in
between leaves a row whose file is missing, or a file that the next writing finds to be the same photo.
"""

from __future__ import annotations

import csv
import filecmp
import io
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from handful.service.artifact.atomic import replace_text, replacement
from handful.service.artifact.errors import UsageError
from handful.service.artifact.sources.folders import LIBRARY_MARK, MANIFEST
from handful.service.http.filenames import casefolded
from handful.service.library.photo_names import free_name

COLUMNS = ["path", "label", "source"]


@dataclass(frozen=True)
class ManifestRow:
    """One labelled photo; `path` is relative to the folder, `source` absolute."""

    path: str
    label: str
    source: str


class LabelledFolder:
    """Every method reads or writes the disk and may raise OSError."""

    def __init__(self, root: Path, *, copy: bool = False) -> None:
        """With `copy`, no file is a link."""
        self.root, self.copy = root, copy

    def check(self, source: Path) -> None:
        """Raises `UsageError` where labels cannot land, or would be photos of the source themselves."""
        root, source = self.root.resolve(), source.resolve()
        if root.is_relative_to(source) or source.is_relative_to(root):
            raise UsageError(
                f"Of --out {self.root} and {source}, one lies in the other; a folder outside of the photos is allowed."
            )
        existing = next(path for path in (root, *root.parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UsageError(f"--out {self.root} cannot be written; a folder that you may write is expected.")
        self.rows()

    def rows(self) -> dict[str, ManifestRow]:
        """By source. Raises `UsageError` for a manifest that something else wrote."""
        try:
            with (self.root / MANIFEST).open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if reader.fieldnames != COLUMNS:
                    raise UsageError(
                        f"{self.root / MANIFEST} has the columns {', '.join(reader.fieldnames or ['none'])};"
                        f" {', '.join(COLUMNS)} are expected: choose another folder by --out."
                    )
                rows = [ManifestRow(row["path"] or "", row["label"] or "", row["source"] or "") for row in reader]
        except FileNotFoundError:
            return {}
        return {row.source: row for row in rows if row.path and row.label}

    def holds(self, row: ManifestRow, photo: Path) -> bool:
        """Whether the row's file is there, and is this photo."""
        return same_file(self.root / PurePosixPath(row.path), photo)

    def write(self, labels: Mapping[Path, str], gone: Collection[Path] = ()) -> None:
        """Makes the folder hold these photos (absolute paths) under these labels, and those of `gone` no longer.

        Other rows stay as they are. Only one process or thread at a time may call this.
        """
        before, left = self.rows(), {text_of(photo) for photo in gone}
        rows = {source: row for source, row in before.items() if source not in left}
        for source in left & before.keys():
            self._remove(before[source])
        taken: dict[str, set[str]] = {}
        for photo, label in labels.items():
            source = text_of(photo)
            row = rows.get(source)
            if row and row.label == label and os.path.lexists(self.root / PurePosixPath(row.path)):
                continue
            if row:
                self._remove(row)
            folder = self.root / label
            if label not in taken:
                folder.mkdir(parents=True, exist_ok=True)
                taken[label] = {casefolded(name) for name in os.listdir(folder)}  # noqa: PTH208 - names alone
            name = self._put(photo, folder, taken[label])
            rows[source] = ManifestRow(f"{label}/{name}", label, source)
        if rows != before:
            (self.root / LIBRARY_MARK).mkdir(parents=True, exist_ok=True)  # every folder is a label, also a `train`
            replace_text(self.root / MANIFEST, _csv(rows.values()))

    def _remove(self, row: ManifestRow) -> None:
        path = self.root / PurePosixPath(row.path)
        with suppress(FileNotFoundError):
            path.unlink()
        with suppress(OSError):
            path.parent.rmdir()  # of a label without photos

    def _put(self, photo: Path, folder: Path, taken: set[str]) -> str:
        """The name of the photo in the folder, where a killed writing may have put it already."""
        own = text_of(Path(photo.name))
        if casefolded(own) in taken and same_file(folder / own, photo):
            return own
        name = free_name(own, taken)
        taken.add(casefolded(name))
        _copy(photo, folder / name) if self.copy else _link(photo, folder / name)
        return name


def text_of(path: Path) -> str:
    r"""The path as text; bytes that are not UTF-8 are written as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def same_file(path: Path, photo: Path) -> bool:
    """Whether both are one file, or have the same bytes."""
    try:
        return path.samefile(photo) or filecmp.cmp(path, photo, shallow=False)
    except OSError:
        return False


def _link(photo: Path, target: Path) -> None:
    for make in (os.link, os.symlink):
        with suppress(OSError, NotImplementedError):
            make(photo.resolve(), target)
            return
    _copy(photo, target)


def _copy(photo: Path, target: Path) -> None:
    with replacement(target) as part:
        shutil.copyfile(photo, part)


def _csv(rows: Iterable[ManifestRow]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.path, row.label, row.source) for row in rows)
    return text.getvalue()
