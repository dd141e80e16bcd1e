"""A file that `handful classify` wrote -> counts of its scores and labels, in flat memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from handful.service.artifact.errors import DataError, UsageError
from handful.service.artifact.scores import ScoreHistogram
from handful.service.artifact.sources.table_files import MAX_JSON_BYTES, open_table
from handful.service.drift.psi import bins_of
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ABOUT = b"handful"  # of a Parquet file's metadata: the run that wrote it, as JSON
SCORES = ("unknown_score", "confidence")
COLUMNS = ("label", "confidence", "unknown", "error")  # that every file has; `unknown_score` came later
PREFIX = "probability_"
ROWS_AT_ONCE = 4096
TRUE, FALSE = {"true", "1"}, {"false", "0", ""}
EXPECTED = "a file that `handful classify` wrote is expected"


@dataclass(frozen=True)
class AnsweredRows:
    """Some rows: scores (N,) by name, NaN where a row has none, and whether each photo is unknown (N,)."""

    labels: list[str]
    unknown: NDArray[np.bool_]
    scores: Mapping[str, NDArray[np.float64]]
    failed: int = 0


@dataclass(frozen=True)
class PredictionFile:
    """`model`, `weights` (hashes of the model's files) and `tta` are None where the file does not say them."""

    path: Path
    labels: tuple[str, ...]
    has_unknown_score: bool
    batches: Callable[[], Iterator[AnsweredRows]]
    model: str | None = None
    weights: Mapping[str, str] | None = None
    tta: bool = False


@dataclass
class PredictionCounts:
    """Of a whole file; `bins` by score."""

    images: int = 0
    failed: int = 0
    unknown: int = 0
    per_label: Counter[str] = field(default_factory=Counter)
    bins: dict[str, NDArray[np.int64]] = field(default_factory=dict)


def open_predictions(path: Path) -> PredictionFile:
    """Reads the beginning only. `UsageError` for anything that `classify` did not write."""
    if not path.is_file():
        raise UsageError(f"{path} is not there; {EXPECTED}.")
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head == b"PAR1":
            return _parquet(path)
        if path.suffix.lower() == ".json":
            return _document(path)
        table = open_table(path, str(path))
    except DataError as e:
        raise UsageError(str(e)) from e
    return _of_rows(path, table.columns, table.rows)


def count_predictions(file: PredictionFile, histograms: Mapping[str, ScoreHistogram]) -> PredictionCounts:
    """In the bins of the histograms, by score. Photos that could not be read are counted apart."""
    counts = PredictionCounts(bins={name: np.zeros(len(each.counts), np.int64) for name, each in histograms.items()})
    try:
        for rows in file.batches():
            counts.images += len(rows.labels) + rows.failed
            counts.failed += rows.failed
            counts.unknown += int(rows.unknown.sum())
            counts.per_label.update(filter(None, rows.labels))
            for name, histogram in histograms.items():
                scores = rows.scores[name][np.isfinite(rows.scores[name])]
                counts.bins[name] += np.bincount(bins_of(histogram, scores), minlength=len(histogram.counts))
    except DataError as e:
        raise UsageError(str(e)) from e
    return counts


def _checked(path: Path, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of a file with these columns."""
    missing = [name for name in COLUMNS if name not in columns]
    labels = tuple(name.removeprefix(PREFIX) for name in columns if name.startswith(PREFIX))
    if missing or not labels:
        raise UsageError(f"{path} has no column {(missing or [PREFIX + '<label>'])[0]!r}; {EXPECTED}.")
    return labels


def _parquet(path: Path) -> PredictionFile:
    import pyarrow as pa  # takes 0.3 s, and only Parquet needs it

    with _opened(path) as file:
        names, metadata = tuple(file.schema_arrow.names), file.schema_arrow.metadata or {}
    labels = _checked(path, names)
    try:
        about = json.loads(metadata.get(ABOUT, b"{}"))
    except ValueError:
        about = {}
    wanted = [name for name in (*COLUMNS, "unknown_score") if name in names]

    def batches() -> Iterator[AnsweredRows]:
        try:
            with _opened(path) as file:
                for batch in file.iter_batches(ROWS_AT_ONCE, columns=wanted):
                    yield _answered(path, batch.to_pylist())
        except pa.ArrowException as e:
            raise UsageError(f"{path} is a damaged Parquet file: {str(e).splitlines()[0]}.") from e

    return PredictionFile(
        path,
        labels,
        "unknown_score" in names,
        batches,
        about.get("model"),
        about.get("weights"),
        bool(about.get("tta")),
    )


def _opened(path: Path) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as e:
        raise UsageError(f"{path} is a damaged Parquet file: {str(e).splitlines()[0]}.") from e


def _document(path: Path) -> PredictionFile:
    """What `classify --json` prints, or a list of its rows."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UsageError(f"{path} has more than {MAX_JSON_BYTES / 1e6:,.0f} MB; use a .jsonl or .parquet file.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise UsageError(f"{path} is not whole JSON; {EXPECTED}.") from e
    about = document if isinstance(document, dict) else {"rows": document}
    rows = about.get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path} has no rows; {EXPECTED}.")
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    file = _of_rows(path, columns, lambda: iter(rows))
    return PredictionFile(
        path, file.labels, file.has_unknown_score, file.batches, about.get("model"), None, bool(about.get("tta"))
    )


def _of_rows(path: Path, columns: tuple[str, ...], rows: Callable[[], Iterator[Mapping[str, Any]]]) -> PredictionFile:
    def batches() -> Iterator[AnsweredRows]:
        iterator = rows()
        while some := list(islice(iterator, ROWS_AT_ONCE)):
            yield _answered(path, some)

    return PredictionFile(path, _checked(path, columns), "unknown_score" in columns, batches)


def _answered(path: Path, rows: list[Mapping[str, Any]]) -> AnsweredRows:
    read = [row for row in rows if not row.get("error")]
    return AnsweredRows(
        [str(row.get("label") or "") for row in read],
        np.array([_truth(path, row.get("unknown")) for row in read], bool),
        {name: np.array([_number(path, name, row.get(name)) for row in read], np.float64) for name in SCORES},
        len(rows) - len(read),
    )


def _number(path: Path, column: str, cell: Any) -> float:
    try:
        return float("nan") if cell is None or cell == "" else float(cell)
    except (TypeError, ValueError) as e:
        raise UsageError(f"{path} has {str(cell)[:60]!r} in the column {column}; a number is expected.") from e


def _truth(path: Path, cell: Any) -> bool:
    word = "" if cell is None else str(cell).lower()
    if word not in TRUE | FALSE:
        raise UsageError(f"{path} has {str(cell)[:60]!r} in the column unknown; True or False is expected.")
    return word in TRUE
