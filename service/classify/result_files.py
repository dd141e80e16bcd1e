"""Result files: predictions as CSV, JSON lines or Parquet, one row per image, and the journal of an unfinished run.

Rows are first appended to a journal beside the result file (`OUT.partial`, JSON lines). A run that is killed leaves its
journal, and a resumed run continues after the last whole row. Once every image has its row, the journal is converted
to OUT, which appears by one rename.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from handful.service.artifact.atomic import move_into_place
from handful.service.artifact.disk_set import DiskSet
from handful.service.artifact.errors import ImageError, UsageError

if TYPE_CHECKING:  # they take time, which the checks do not need
    import pyarrow as pa
    from handful.service.artifact.prediction import Prediction

Row = dict[str, Any]

ENDINGS = (".csv", ".jsonl", ".parquet")
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # Excel runs cells that begin so; the wide ones in East Asian settings
PARQUET_ROWS = 4096  # rows per row group; bounds the rows in memory
ABOUT = b"handful"  # of a Parquet file's metadata: the run that wrote it, as JSON


@dataclass(frozen=True)
class Summary:
    """Counts of rows."""

    images: int
    failed: int
    unknown: int
    resumed: int  # rows written by an earlier run
    per_label: dict[str, int]  # answered with the label; those that do not occur are left out
    formulas: int = 0  # paths that a spreadsheet would take for formulas


def columns(labels: Iterable[str]) -> list[str]:
    probabilities = (f"probability_{label}" for label in labels)
    return ["path", "label", "confidence", "unknown", "error", *probabilities, "unknown_score"]


def result_row(path: str, result: Prediction | ImageError, labels: Iterable[str]) -> Row:
    """One image's row; a failed image has only a path and an error."""
    if isinstance(result, ImageError):
        return {"path": path, "label": "", "error": f"{result.code}: {result}"}
    probabilities = {f"probability_{k}": round(v, 6) for k, v in zip(labels, result.probabilities, strict=True)}
    return {
        "path": path,
        "label": result.label or "",
        "confidence": round(result.confidence, 6),
        "unknown": result.unknown,
        "error": "",
        **probabilities,
        "unknown_score": round(result.unknown_score, 6),
    }


class Journal:
    """The rows of an unfinished run. Its first line, the header, holds the model and settings of the run."""

    def __init__(self, out: Path, header: Row) -> None:
        self.path, self.header = out.with_name(out.name + ".partial"), header
        self._is_ours = False  # begun by this object, and still without a row

    def open(self, *, resume: bool) -> DiskSet:
        """Creates the journal, or returns the paths that an earlier run has classified.

        Drops a row that a kill cut off. Raises `UsageError` for an existing journal without `resume`, and for one
        with another header.
        """
        if not self.path.exists():
            self._begin()
            self._is_ours = True
            return DiskSet()
        if not resume:
            raise UsageError(
                f"{self.path} is left from an unfinished run; add --resume to continue it, or delete it to start again."
            )
        return self._read_done()

    def _begin(self) -> None:
        self.path.write_text(json.dumps(self.header) + "\n", encoding="utf-8")

    def _read_done(self) -> DiskSet:
        done = DiskSet()
        whole_bytes = 0
        with self.path.open("rb+") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                entry = json.loads(line)
                if number:
                    done.add(entry["path"])
                else:
                    self._check_header(entry)
                whole_bytes += len(line)
            file.truncate(whole_bytes)
        if not whole_bytes:
            self._begin()
        return done

    def _check_header(self, header: Row) -> None:
        if header != self.header:
            begun, now = _run_in_words(header), _run_in_words(self.header)
            raise UsageError(f"{self.path} was begun with {begun}, this run is {now}; --resume needs the same.")

    @contextmanager
    def appending(self) -> Iterator[Callable[[Row], None]]:
        """Yields a function that appends a row and flushes it to the system.

        A run that fails before its first row leaves no journal.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:

                def append(row: Row) -> None:
                    self._is_ours = False
                    file.write(json.dumps(row) + "\n")
                    file.flush()

                yield append
        except BaseException:
            if self._is_ours:
                self.delete()
            raise

    def rows(self) -> Iterator[Row]:
        with self.path.open(encoding="utf-8") as file:
            yield from map(json.loads, islice(file, 1, None))

    def delete(self) -> None:
        self.path.unlink()


def summarised(rows: Iterable[Row], *, resumed: int = 0) -> Summary:
    images = failed = unknown = formulas = 0
    per_label: Counter[str] = Counter()
    for row in rows:
        images += 1
        failed += bool(row["error"])
        unknown += bool(row.get("unknown"))
        formulas += runs_as_formula(row["path"])
        per_label.update(filter(None, [row["label"]]))
    return Summary(images, failed, unknown, resumed, dict(per_label), formulas)


def runs_as_formula(cell: object) -> bool:
    """Whether a spreadsheet would run a cell instead of showing it."""
    return isinstance(cell, str) and cell.lstrip(" ").startswith(FORMULA_STARTS)


def _run_in_words(header: Row) -> str:
    shard = f", shard {header['shard']}" if header.get("shard") else ""
    return f"{header.get('model')} {'with' if header.get('tta') else 'without'} --tta{shard}"


def write_result_file(
    out: Path, rows: Iterator[Row], names: list[str], *, excel: bool = False, about: Row | None = None
) -> None:
    """Writes the rows in the format of the file's ending, one of `ENDINGS`; `excel` for a CSV that Excel opens.

    `about` tells of the run, in the metadata of a Parquet file.
    """
    writers: dict[str, Callable[[Iterator[Row], list[str], Path], None]] = {
        ".csv": _write_excel_csv if excel else _write_csv,
        ".jsonl": _write_jsonl,
        ".parquet": partial(_write_parquet, about=about),
    }
    write = writers[out.suffix.lower()]
    part = out.with_name(out.name + ".writing")
    write(rows, names, part)
    move_into_place(part, out)


def _write_csv(rows: Iterator[Row], names: list[str], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_excel_csv(rows: Iterator[Row], names: list[str], path: Path) -> None:
    """With a byte-order mark, without which Excel takes UTF-8 for Windows-1252, and with no cell that it would run."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(_inert, names))
        writer.writerows([_inert(row.get(name, "")) for name in names] for row in rows)


def _inert(cell: object) -> object:
    return f"'{cell}" if runs_as_formula(cell) else cell


def _write_jsonl(rows: Iterator[Row], names: list[str], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            _write_line(file, {name: row.get(name) for name in names})


def _write_line(file: IO[str], value: Row) -> None:
    file.write(json.dumps(value, ensure_ascii=False) + "\n")


def _write_parquet(rows: Iterator[Row], names: list[str], path: Path, *, about: Row | None = None) -> None:
    import pyarrow as pa  # takes 0.3 s, and only Parquet needs it
    import pyarrow.parquet as pq

    schema = parquet_schema(names)
    if about is not None:
        schema = schema.with_metadata({ABOUT: json.dumps(about)})
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, PARQUET_ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def parquet_schema(names: Iterable[str]) -> pa.Schema:
    """Of rows with these columns."""
    import pyarrow as pa

    types = {"path": pa.string(), "label": pa.string(), "unknown": pa.bool_(), "error": pa.string()}
    return pa.schema([(name, types.get(name, pa.float64())) for name in names])
