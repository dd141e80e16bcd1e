"""Which column of a table holds the path, the label and the part; what one cell of these says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.formats.kinds import SUFFIXES
from handful.service.artifact.label_names import normal_label
from handful.service.artifact.sources.listing import part_role
from handful.service.artifact.sources.table_files import Cells, TableFile

# names of columns without capitals, blanks and signs, the most telling first
PATH_NAMES = (
    *("path", "filepath", "filename", "file", "imagepath", "imagefile", "imagefilename", "imagename", "image", "img"),
    *("imgpath", "imgname", "photo", "photopath", "photofile", "picture", "relativepath", "relpath", "fullpath"),
    *("imageid", "id", "url", "imageurl", "uri"),
)
LABEL_NAMES = (
    *("label", "labels", "labelname", "class", "classname", "classes", "category", "categoryname", "target", "species"),
    *("tag", "groundtruth", "choice", "y"),
)
PART_NAMES = ("split", "part", "subset", "partition", "set", "dataset")
EMBEDDED = {"bytes", "path"}  # of an image inside a table, as Hugging Face's datasets writes it


class LabelColumnMissing(DataError):
    """A table has no column that is known to hold labels."""


@dataclass(frozen=True)
class ColumnNames:
    """The columns that a person named; None: found by their usual names."""

    path: str | None = None
    label: str | None = None

    def check_unused(self, source: str, kind: str) -> None:
        """`UsageError` where a column is named and there is no table."""
        if self.path or self.label:
            flag, name = ("--path-column", self.path) if self.path else ("--label-column", self.label)
            raise UsageError(f"{flag} {name} names a column of a table; {source} is {kind}.")


@dataclass(frozen=True)
class FoundColumns:
    """The columns of one table that are read."""

    path: str
    label: str | None  # None where labels are not asked for
    part: str | None

    @property
    def note(self) -> str:
        label = f", labels in {self.label!r}" if self.label else ""
        return f"paths in {self.path!r}{label}"


def found_columns(table: TableFile, named: ColumnNames, source: str, *, labelled: bool) -> FoundColumns:
    """`UsageError` for a named column that is not there, `DataError` where none is found."""
    sample = table.sample()
    path = _named(table, named.path, "--path-column", source) or _path_column(table, sample)
    if path is None:
        raise DataError(_missing(table, "paths", "--path-column", source))
    label = _named(table, named.label, "--label-column", source)
    if labelled and label is None:
        label = _usual(LABEL_NAMES, [column for column in table.columns if column != path])
        if label is None:
            raise LabelColumnMissing(_missing(table, "labels", "--label-column", source))
    part = _usual(PART_NAMES, [column for column in table.columns if column not in {path, label}])
    if part and not all(part_role(cell_text(row.get(part))) for row in sample):
        part = None
    return FoundColumns(path, label, part)


def _named(table: TableFile, name: str | None, flag: str, source: str) -> str | None:
    if name is not None and name not in table.columns:
        raise UsageError(f"{flag} is {name!r}; the columns of {source} are {_listed(table.columns)}.")
    return name


def _missing(table: TableFile, what: str, flag: str, source: str) -> str:
    return (
        f"{source} ({table.kind}) has no column of {what} that is known by its name; its columns are"
        f" {_listed(table.columns)}: name the right one by {flag}."
    )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(map(repr, columns[:20])) + (", …" if len(columns) > 20 else "")


def _path_column(table: TableFile, sample: Sequence[Cells]) -> str | None:
    """The column with images inside, the one with a usual name, or the only one whose cells end as images do."""
    inside = [column for column in table.columns if any(embedded(row.get(column)) for row in sample)]
    ending = [column for column in table.columns if sample and all(_ends_as_image(row.get(column)) for row in sample)]
    return next(iter(inside), None) or _usual(PATH_NAMES, ending or table.columns) or _only(ending)


def _only(columns: Sequence[str]) -> str | None:
    return columns[0] if len(columns) == 1 else None


def embedded(cell: Any) -> bytes | None:
    """The file in a cell that holds an image itself."""
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, dict) and cell.keys() <= EMBEDDED and isinstance(cell.get("bytes"), bytes):
        data: bytes = cell["bytes"]
        return data
    return None


def _ends_as_image(cell: Any) -> bool:
    return isinstance(cell, str) and Path(cell.partition("?")[0].strip()).suffix.lower() in SUFFIXES


def _usual(names: Iterable[str], columns: Sequence[str]) -> str | None:
    by_name = {re.sub(r"[\W_]", "", column.lower()): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def cell_text(cell: Any) -> str:
    """A cell as text, in the normal form of labels; empty for none."""
    if cell is None or cell != cell:  # nan
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return normal_label(str(cell))
