"""A file of rows -> columns and rows, whatever its ending: CSV with any delimiter, JSON, JSON lines or Parquet.

Parquet is read in batches, CSV and JSON lines by row; a JSON list is read whole, up to a limit.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from handful.service.artifact.errors import DataError
from handful.service.artifact.formats.kinds import SUFFIXES

Cells = Mapping[str, Any]  # of one row

HEAD_BYTES = 1 << 16
SAMPLE_ROWS = 100
PARQUET_ROWS = 64  # at once: they may hold images
BUFFER_BYTES = 1 << 20  # of a column that is read; without it a whole group of rows would be in memory
MAX_JSON_BYTES = 1_000_000_000  # of a list, which is in memory as a whole
DELIMITERS = {",": "CSV", ";": "CSV with semicolons", "\t": "TSV", "|": "CSV with bars"}
TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class TableFile:
    """One file of rows; `rows` reads it from its beginning each time."""

    path: Path
    kind: str  # such as CSV
    columns: tuple[str, ...]
    rows: Callable[[], Iterator[Cells]]
    names: Mapping[str, Sequence[str]]  # of a column of numbers that stand for labels: the labels
    notes: tuple[str, ...] = ()

    def sample(self) -> list[Cells]:
        return list(islice(self.rows(), SAMPLE_ROWS))


def open_table(path: Path, source: str) -> TableFile:
    """`DataError` for what is no table."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return _parquet(path, source)
    if not head.strip():
        raise DataError(f"{source} is empty; a table of paths and labels is expected.")
    text, encoding = _decoded(path, head, source)
    notes = () if encoding.startswith("utf") else ("not UTF-8, read as Windows-1252",)
    if text.lstrip().startswith("["):
        return _json_list(path, source, encoding, notes)
    if text.lstrip().startswith("{"):
        return _json_lines(path, source, encoding, notes)
    return _csv(path, source, text, encoding, notes)


def _decoded(path: Path, head: bytes, source: str) -> tuple[str, str]:
    """The beginning as text, and the encoding of the file."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in head:
        raise DataError(f"{source} is no table of paths and labels: it is neither text (CSV, JSON) nor Parquet.")
    else:
        encoding = "utf-8-sig" if _is_utf8(path) else "cp1252"
    return head.decode(encoding, "replace"), encoding


def _is_utf8(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(HEAD_BYTES):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _csv(path: Path, source: str, text: str, encoding: str, notes: tuple[str, ...]) -> TableFile:
    first = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    header = next(csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True), [])
    without_header = any(Path(cell.strip()).suffix.lower() in SUFFIXES for cell in header)
    if without_header:
        header = ["path", "label", *map(str, range(3, len(header) + 1))][: len(header)]
        notes = (*notes, "no header")
    columns = tuple(cell.strip() for cell in header)
    if len(set(columns)) < len(columns):
        raise DataError(f"{source} has two columns of one name; its columns are {', '.join(map(repr, columns))}.")

    def rows() -> Iterator[Cells]:
        with path.open(encoding=encoding, newline="", errors="replace") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            try:
                for cells in islice(reader, 0 if without_header else 1, None):
                    if cells:
                        yield dict(zip(columns, cells, strict=False))
            except csv.Error as e:
                raise DataError(f"{source} cannot be read as CSV from line {reader.line_num} on: {e}.") from e

    return TableFile(path, DELIMITERS[delimiter], columns, rows, {}, notes)


def _json_lines(path: Path, source: str, encoding: str, notes: tuple[str, ...]) -> TableFile:
    def rows() -> Iterator[Cells]:
        with path.open(encoding=encoding) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(line, number)

    def _row(line: str, number: int) -> Cells:
        try:
            row = json.loads(line)
        except ValueError as e:
            raise DataError(
                f"{source} is no table: line {number} is not a whole JSON object; one object per line, or one list of"
                " objects, is expected."
            ) from e
        if not isinstance(row, dict):
            raise DataError(f"{source} is no table: line {number} is not a JSON object, as each row must be.")
        return row

    return TableFile(path, "JSON lines", _columns(rows()), rows, {}, notes)


def _json_list(path: Path, source: str, encoding: str, notes: tuple[str, ...]) -> TableFile:
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise DataError(
            f"{source} is a JSON list of {size / 1e6:,.0f} MB; above {MAX_JSON_BYTES / 1e6:,.0f} MB use JSON lines."
        )
    try:
        rows = json.loads(path.read_text(encoding=encoding))
    except ValueError as e:
        raise DataError(f"{source} is not whole JSON ({e}).") from e
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{source} is a JSON list, but not of objects, which the rows of a table are.")
    return TableFile(path, "JSON", _columns(iter(rows)), lambda: iter(rows), {}, notes)


def _columns(rows: Iterator[Cells]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in islice(rows, SAMPLE_ROWS) for name in row))


def _parquet(path: Path, source: str) -> TableFile:
    import pyarrow as pa  # takes 0.3 s, and only Parquet needs it
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as e:
        raise DataError(f"{source} is a damaged Parquet file: {str(e).splitlines()[0]}.") from e

    def rows() -> Iterator[Cells]:
        try:
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
                for batch in file.iter_batches(PARQUET_ROWS):
                    yield from batch.to_pylist()
        except pa.ArrowException as e:
            raise DataError(f"{source} is a damaged Parquet file: {str(e).splitlines()[0]}.") from e

    return TableFile(path, "Parquet", tuple(schema.names), rows, _label_names(schema.metadata or {}))


def _label_names(metadata: Mapping[bytes, bytes]) -> dict[str, Sequence[str]]:
    """What Hugging Face's datasets writes beside the columns: the names of the labels that numbers stand for."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
