"""Tables of paths and labels -> their photos. A row that points nowhere is a problem of that row."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from handful.service.artifact.errors import DataError
from handful.service.artifact.formats.kinds import SUFFIXES
from handful.service.artifact.label_names import normal_label
from handful.service.artifact.sources.columns import ColumnNames, FoundColumns, cell_text, embedded, found_columns
from handful.service.artifact.sources.exports import ExportTable, UploadFinder, adapted, labels_of
from handful.service.artifact.sources.listing import (
    PhotoPart,
    PhotoSource,
    SourcePhoto,
    SourceProblem,
    check_labels,
    divided,
    part_role,
)
from handful.service.artifact.sources.table_files import TableFile, open_table
from handful.service.artifact.sources.unpacking import unpacked

ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".webp")  # tried where a path has no ending, as in tables of ids
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SIGNATURES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}


@dataclass(frozen=True)
class TableSettings:
    """How tables are read."""

    named: ColumnNames
    labelled: bool = True  # whether labels are asked for
    inside: bool = False  # of a stranger's table: its paths must lie below its folder


class TableRow(NamedTuple):
    number: int
    text: str  # the path, as the table writes it
    data: bytes | None  # of an image inside the table
    label: Any  # the cell
    part: str


@dataclass
class _Collected:
    """The rows of one table or of several alike."""

    photos: dict[str, list[SourcePhoto]] = field(default_factory=lambda: defaultdict(list))  # by part
    problems: dict[str, list[SourceProblem]] = field(default_factory=lambda: defaultdict(list))
    missing: int = 0
    rows: int = 0


@dataclass(frozen=True)
class OpenedTable:
    """One table with its columns; `part` is that of all its rows, where they do not say another."""

    table: TableFile
    columns: FoundColumns
    export: ExportTable | None
    part: str
    number: int

    @property
    def inside(self) -> bool:
        """Whether the table holds the images themselves."""
        return any(embedded(row.get(self.columns.path)) is not None for row in self.table.sample())

    def rows(self) -> Iterator[TableRow]:
        return _rows(self.table, self.columns, self.part)

    def folder_in(self, root: Path) -> Path:
        """Where its images are unpacked."""
        return root / self.part / (str(self.number) if self.number else "")


def read_table(path: Path, source: str, settings: TableSettings) -> PhotoSource:
    return read_tables([("", path)], source, settings, path.parent)


def read_tables(
    files: Sequence[tuple[str, Path]], source: str, settings: TableSettings, root: Path, *, kind: str | None = None
) -> PhotoSource:
    """Tables of one kind and the part of each, which may be empty."""
    opened = [opened_table(part, path, number, source, settings) for number, (part, path) in enumerate(files)]
    inside = any(each.inside for each in opened)
    if inside:
        key = [(str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size) for _, path in files]
        root = unpacked(("images", *key, opened[0].columns.path), lambda folder: _write(opened, folder))
    collected = _Collected()
    for each in opened:
        uploads = each.export.uploads if each.export else None
        folder = each.folder_in(root) if inside else each.table.path.parent
        _collect(each.rows(), folder, collected, settings, uploads, inside=inside)
    nowhere = collected.missing == collected.rows or not any(collected.photos.values())
    if collected.missing and nowhere:
        first = next(problem for problems in collected.problems.values() for problem in problems)
        raise DataError(f"None of the {collected.rows:,} rows of {source} points to a file. {first.detail}")
    first_export = opened[0].export
    said = first_export.kind if first_export else kind or opened[0].table.kind
    notes = [note for each in opened for note in (*(() if each.export else (each.columns.note,)), *each.table.notes)]
    return _source(source, said, collected, _common_root(collected, root), tuple(dict.fromkeys(notes)), settings)


def opened_table(part: str, path: Path, number: int, source: str, settings: TableSettings) -> OpenedTable:
    table = open_table(path, source)
    export = adapted(table, settings.named, source, labelled=settings.labelled)
    if export:
        table = export.table
    named = export.named if export else settings.named
    return OpenedTable(table, found_columns(table, named, source, labelled=settings.labelled), export, part, number)


def _rows(table: TableFile, columns: FoundColumns, default: str) -> Iterator[TableRow]:
    names = table.names.get(columns.label or "", ())
    for number, row in enumerate(table.rows(), 1):
        cell, written = row.get(columns.path), row.get(columns.label or "")
        if names and isinstance(written, int):
            written = names[written] if 0 <= written < len(names) else None
        data = embedded(cell)
        text = cell.get("path") if isinstance(cell, dict) else None if data else cell
        part = cell_text(row.get(columns.part or "")) or default
        yield TableRow(number, "" if text is None else str(text).strip(), data, written, part)


def _collect(
    rows: Iterator[TableRow],
    folder: Path,
    collected: _Collected,
    settings: TableSettings,
    uploads: UploadFinder | None,
    *,
    inside: bool,
) -> None:
    for row in rows:
        collected.rows += 1
        name = row.text or f"row {row.number}"
        try:
            label = _label(row) if settings.labelled else ""
            path = _unpacked_to(row, folder) if inside else located(row, folder, settings, uploads)
        except RowError as e:
            collected.missing += e.missing
            collected.problems[row.part].append(SourceProblem(name, e.kind, f"Row {row.number} {e}"))
            if e.missing and not settings.labelled:  # an answer's row, with the error of reading it
                collected.photos[row.part].append(SourcePhoto(folder / (row.text or name), ""))
        else:
            collected.photos[row.part].append(SourcePhoto(path, label))


class RowError(Exception):
    """One row cannot be used; the text continues "Row N"."""

    def __init__(self, kind: str, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.kind, self.missing = kind, missing


def _label(row: TableRow) -> str:
    labels = list(dict.fromkeys(text for each in labels_of(row.label) if (text := cell_text(each)).strip()))
    if not labels:
        raise RowError("row_without_label", "has no label.")
    if len(labels) > 1:
        several = " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))
        raise RowError(
            "several_labels",
            f"has {len(labels)} labels ({several}); handful learns one label per photo, several at once are not built:"
            " keep one.",
        )
    return labels[0]


def _unpacked_to(row: TableRow, folder: Path) -> Path:
    if row.data is None:
        raise RowError("row_without_path", "holds no image.", missing=True)
    return folder / _inner_name(row)


def located(row: TableRow, folder: Path, settings: TableSettings, uploads: UploadFinder | None) -> Path:
    """The row's file."""
    if not row.text:
        raise RowError("row_without_path", "has no path.", missing=True)
    for path in _candidates(row.text, folder):
        if path.is_file() and (not settings.inside or path.resolve().is_relative_to(folder.resolve())):
            return path
    if uploads and (found := uploads.find(row.text)):
        return found
    if _URL.match(row.text):
        raise RowError(
            "row_points_nowhere",
            f"points to the address {row.text}; only files are read: download it and write its path.",
            missing=True,
        )
    where = f"; it is looked for {'anywhere below' if uploads else 'from'} the table's folder, {folder.resolve()}"
    raise RowError("row_points_nowhere", f"points to {row.text}, which is no file there{where}.", missing=True)


def _candidates(text: str, folder: Path) -> Iterator[Path]:
    """Places where the file may lie: as written, with slashes, in another form of accents, with an ending."""
    text = text.removeprefix("file://")
    for written in dict.fromkeys((text, text.replace("\\", "/"))):
        for form in dict.fromkeys((written, normal_label(written), unicodedata.normalize("NFD", written))):
            try:
                path = folder / form
                path.is_file()
            except (OSError, ValueError):  # too long, or with a zero byte
                continue
            yield path
            if path.suffix.lower() not in SUFFIXES:
                yield from (path.with_name(path.name + ending) for ending in ENDINGS if path.name)


def _write(opened: Sequence[OpenedTable], root: Path) -> None:
    """The images inside tables, as files; a batch of rows is in memory."""
    for table in opened:
        folder = table.folder_in(root)
        folder.mkdir(parents=True, exist_ok=True)
        for row in table.rows():
            if row.data is not None:
                (folder / _inner_name(row)).write_bytes(row.data)


def _inner_name(row: TableRow) -> str:
    """The number keeps names apart, the rest is what a person may know it by."""
    known = re.sub(r"[^\w.() +-]", "_", PurePosixPath(row.text.replace("\\", "/")).name)[-100:].lstrip(".")
    ending = next((end for magic, end in _SIGNATURES.items() if (row.data or b"").startswith(magic)), "")
    return f"{row.number:07}{f'-{known}' if known else ending}"


def _source(
    source: str, kind: str, collected: _Collected, root: Path, notes: tuple[str, ...], settings: TableSettings
) -> PhotoSource:
    parts = _by_first_folder(collected, root) or dict(collected.photos)
    problems = [problem for each in collected.problems.values() for problem in each]
    if not parts:
        first = f" {problems[0].detail}" if problems else ""
        raise DataError(f"{source} has no row with a photo{' and one label' if settings.labelled else ''}.{first}")
    if not settings.labelled:
        photos = [photo for each in parts.values() for photo in each]
        return PhotoSource(source, kind, PhotoPart(root, tuple(photos), (), tuple(problems)), notes=notes)
    check_labels((photo.label for each in parts.values() for photo in each), source)
    if len(parts) > 1 and not all(part_role(name) for name in parts):
        parts = {"": [photo for each in parts.values() for photo in each]}
    read = [PhotoPart.of(root, photos, collected.problems.get(name, ()), name=name) for name, photos in parts.items()]
    train, held_out = divided(read)
    placed = {problem for part in read for problem in part.problems}
    more = [problem for problem in problems if problem not in placed]
    train = PhotoPart.of(root, train.photos, [*train.problems, *more], name=train.name)
    return PhotoSource(source, kind, train, held_out, notes)


def _common_root(collected: _Collected, root: Path) -> Path:
    """The table's folder, or where photos lie elsewhere the folder that all of them have in common."""
    folders = {photo.path.parent for photos in collected.photos.values() for photo in photos}
    if all(folder.is_relative_to(root) for folder in folders):
        return root
    try:
        return Path(os.path.commonpath([*folders]))
    except ValueError:  # on several drives
        return root


def _by_first_folder(collected: _Collected, root: Path) -> dict[str, list[SourcePhoto]]:
    """By the folders that the paths begin with, where all of them are parts; else empty."""
    if set(collected.photos) != {""}:
        return {}
    parts: dict[str, list[SourcePhoto]] = defaultdict(list)
    for photo in collected.photos[""]:
        below = photo.path.relative_to(root).parts if photo.path.is_relative_to(root) else ()
        if len(below) < 2 or not part_role(below[0]):
            return {}
        parts[below[0]].append(photo)
    roles: Sequence[str | None] = [part_role(name) for name in parts]
    return parts if len(parts) > 1 and roles.count("train") == 1 else {}
