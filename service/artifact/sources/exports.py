"""Exports of labelling tools, turned into plain tables: a column of paths and a column of labels.

Label Studio   JSON (tasks with annotations), JSON-MIN and CSV (rows with annotator and lead_time). Uploaded files are
               called /data/upload/PROJECT/1a2b3c4d-NAME there: they are found by their name below the export's folder.
Roboflow       _classes.csv: a column filename, then one column per label that holds 0 or 1.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.image_files import walk
from handful.service.artifact.label_names import normal_label
from handful.service.artifact.sources.columns import LABEL_NAMES, ColumnNames
from handful.service.artifact.sources.table_files import Cells, TableFile

CHOICE = "choice"  # the column of labels in a table made here
_RECORDS = frozenset({"annotation_id", "annotator", "lead_time", "created_at", "updated_at", "id", "sentiment"})
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
_SEVERAL = ("rectanglelabels", "polygonlabels", "brushlabels", "keypointlabels", "ellipselabels")


@dataclass(frozen=True)
class ExportTable:
    """A table with what its kind of export says about it."""

    table: TableFile
    kind: str
    named: ColumnNames
    uploads: UploadFinder | None = None  # where paths are those of a labelling tool's server


def adapted(table: TableFile, named: ColumnNames, source: str, *, labelled: bool) -> ExportTable | None:
    """The export as a plain table; None for any other table."""
    sample = table.sample()
    if sample and all(isinstance(row.get("data"), dict) for row in sample):
        control = named.label or (_control(table, source) if labelled else None)
        return _label_studio_tasks(table, named, control)
    if len({"annotation_id", "annotator", "lead_time"} & set(table.columns)) > 1:
        return _label_studio_rows(table, named)
    if named.label is None and _is_one_hot(table, sample):
        return _one_hot(table, named)
    return None


def _label_studio_tasks(table: TableFile, named: ColumnNames, control: str | None) -> ExportTable:

    def rows() -> Iterator[Cells]:
        for task in table.rows():
            yield {**task["data"], CHOICE: _choices(task, control)}

    columns = dict.fromkeys([*(name for task in table.sample() for name in task["data"]), CHOICE])
    plain = TableFile(table.path, table.kind, tuple(columns), rows, {}, table.notes)
    return ExportTable(plain, "Label Studio export", replace(named, label=CHOICE), UploadFinder(table.path.parent))


def _control(table: TableFile, source: str) -> str | None:
    """The name of the control with which labels were chosen, which must be the only one."""
    names = dict.fromkeys(r.get("from_name") for task in table.rows() for r in _results(task) if _is_choice(r))
    if len(names) > 1:
        raise UsageError(
            f"{source} holds choices by several controls, {', '.join(map(str, names))}; name the one with the labels:"
            f" `handful train {source} --label-column NAME`."
        )
    if not names and any(r.get("type") in _SEVERAL for task in table.rows() for r in _results(task)):
        raise DataError(f"{source} holds boxes or outlines inside photos; handful learns one choice per photo.")
    return next(iter(names), None)


def _results(task: Cells) -> Iterator[dict[str, Any]]:
    for annotation in task.get("annotations") or task.get("completions") or ():
        if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
            yield from (each for each in annotation.get("result") or () if isinstance(each, dict))


def _is_choice(result: dict[str, Any]) -> bool:
    return isinstance(result.get("value"), dict) and isinstance(result["value"].get("choices"), list)


def _choices(task: Cells, control: str | None) -> list[str]:
    """Each label that an annotator chose, once."""
    chosen = (r["value"]["choices"] for r in _results(task) if _is_choice(r) and control in {None, r.get("from_name")})
    return list(dict.fromkeys(str(label) for labels in chosen for label in labels))


def _label_studio_rows(table: TableFile, named: ColumnNames) -> ExportTable:
    label = named.label
    if label is None and not {re.sub(r"[\W_]", "", column.lower()) for column in table.columns} & set(LABEL_NAMES):
        free = [column for column in table.columns if column not in _RECORDS and column not in {"image", named.path}]
        label = free[0] if len(free) == 1 else None
    return ExportTable(table, "Label Studio export", replace(named, label=label), UploadFinder(table.path.parent))


def _is_one_hot(table: TableFile, sample: Sequence[Cells]) -> bool:
    first, *others = table.columns or ("",)
    if (
        re.sub(r"[\W_]", "", first.lower()) not in {"filename", "file", "image", "path"}
        or len(others) < 2
        or not sample
    ):
        return False
    return all(str(row.get(column, "")).strip() in {"0", "1", "0.0", "1.0"} for row in sample for column in others)


def _one_hot(table: TableFile, named: ColumnNames) -> ExportTable:
    first, *others = table.columns

    def rows() -> Iterator[Cells]:
        for row in table.rows():
            ones = [column for column in others if str(row.get(column, "")).strip() in {"1", "1.0"}]
            yield {first: row.get(first), CHOICE: ones}

    plain = TableFile(table.path, table.kind, (first, CHOICE), rows, {}, table.notes)
    return ExportTable(plain, "Roboflow _classes.csv", replace(named, label=CHOICE))


def labels_of(cell: Any) -> list[str]:
    """The labels in one cell: none, one, or several, which some tools write as a list or as {"choices": [...]}."""
    if isinstance(cell, str) and cell.lstrip().startswith(('{"choices"', "[")):
        try:
            cell = json.loads(cell)
        except ValueError:
            return [cell]
    if isinstance(cell, dict) and "choices" in cell:
        cell = cell["choices"]
    return [str(each) for each in cell] if isinstance(cell, list | tuple) else [cell]


@dataclass
class UploadFinder:
    """Finds a labelling tool's files by their name below one folder."""

    folder: Path
    _seen: dict[str, Path | None] = field(default_factory=dict)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        files = defaultdict(list)
        for path in walk(self.folder):
            files[normal_label(path.name)].append(path)
        return files

    def find(self, text: str) -> Path | None:
        """The file with this name; of several the one whose folders fit best, if there is one."""
        parts = urlsplit(text)
        asked = parse_qs(parts.query).get("d", [parts.path])[0] if "local-files" in parts.path else parts.path
        wanted = PurePosixPath(normal_label(unquote(asked)).replace("\\", "/"))
        names = (wanted.name, _UPLOAD.sub("", wanted.name, count=1))
        found = next((files for name in names if (files := self._by_name.get(name))), [])
        alike = [_common_end(path.parts, wanted.parts) for path in found]
        return found[alike.index(max(alike))] if found and alike.count(max(alike)) == 1 else None


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
