"""The files of all shards -> one file of rows, in the order of their paths, in flat memory."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.service.artifact.errors import UsageError
from handful.service.classify.result_files import (
    ABOUT,
    ENDINGS,
    PARQUET_ROWS,
    Row,
    Summary,
    columns,
    summarised,
    write_result_file,
)
from handful.service.classify.shards import Shard, shard_number
from handful.service.terminal.output import check_out

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MOST_NAMED = 20  # shards in a sentence
LEAST_ROWS = 64  # read at once from each part, all of which are open
SAME = {  # of all parts of one run: what is compared, and how it is called
    "model": "the model",
    "weights": "the model's files",
    "tta": "ten views",
    "sources": "the sources",
    "labels": "the labels",
}


@dataclass(frozen=True)
class ShardFile:
    """One shard's file, of which only the footer has been read."""

    path: Path
    shard: Shard
    about: Mapping[str, Any]  # the run that wrote it

    @classmethod
    def open(cls, path: Path) -> ShardFile:
        """`UsageError` for what is no part of a sharded run."""
        about = _about(path)
        if about is None or not about.get("shard"):
            raise UsageError(
                f"{path} is no part of a divided run; a .parquet file that"
                " `handful classify SOURCE --shard I/N --out PART.parquet` wrote is expected."
            )
        return cls(path, Shard.parse(str(about["shard"])), about)

    def rows(self) -> Iterator[Row]:
        """`UsageError` for a row that belongs to another shard."""
        with _opened(self.path) as file:
            for batch in file.iter_batches(max(LEAST_ROWS, PARQUET_ROWS // self.shard.count)):
                for row in batch.to_pylist():
                    if not self.shard.holds(row["path"]):
                        belongs = shard_number(row["path"], self.shard.count)
                        raise UsageError(
                            f"{self.path} is shard {self.shard}, but its row {row['path']!r} belongs to shard"
                            f" {belongs}/{self.shard.count}; classify this shard again."
                        )
                    yield row


@dataclass(frozen=True)
class Merged:
    """What was merged."""

    summary: Summary
    model: str
    labels: tuple[str, ...]
    engines: tuple[str, ...]  # that computed the parts


def merge_parts(paths: Sequence[Path], out: Path) -> Merged:
    """Writes the rows of all shards of one run into one file, which appears whole.

    Rows come in the order in which one process would write those of a folder. `UsageError` for parts that are missing,
    are there twice, or belong to different runs.
    """
    check_out(out, ENDINGS)
    parts = [ShardFile.open(path) for path in dict.fromkeys(paths)]
    _check_same_run(parts)
    _check_complete(parts)
    about = {key: value for key, value in parts[0].about.items() if key != "shard"}
    engines = tuple(dict.fromkeys(str(part.about.get("engine")) for part in parts))
    about["engine"] = ", ".join(engines)
    labels = tuple(about["labels"])
    write_result_file(out, merged_rows(parts), columns(labels), about=about)
    return Merged(summarised(chain.from_iterable(part.rows() for part in parts)), str(about["model"]), labels, engines)


def merged_rows(parts: Sequence[ShardFile]) -> Iterator[Row]:
    """In the order of the paths' folders and names; a table's rows keep their order within a shard only."""
    return heapq.merge(*(part.rows() for part in parts), key=lambda row: row["path"].split("/"))


def _check_same_run(parts: Sequence[ShardFile]) -> None:
    first = parts[0]
    for part in parts[1:]:
        if part.shard.count != first.shard.count:
            raise UsageError(
                f"{part.path} is shard {part.shard}, but {first.path} is shard {first.shard}; parts of one division"
                " are expected."
            )
        for key, words in SAME.items():
            if part.about.get(key) != first.about.get(key):
                got, expected = _short(part.about.get(key)), _short(first.about.get(key))
                raise UsageError(
                    f"{part.path} belongs to another run than {first.path}: {words}: {got}, there {expected}."
                )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _check_complete(parts: Sequence[ShardFile]) -> None:
    count, number = parts[0].shard.count, Counter(part.shard.number for part in parts)
    if twice := next((part.shard for part in parts if number[part.shard.number] > 1), None):
        files = " and ".join(str(part.path) for part in parts if part.shard == twice)
        raise UsageError(f"Shard {twice} is there twice: {files}; name one of them.")
    if missing := [each for each in range(1, count + 1) if each not in number]:
        named = ", ".join(map(str, missing[:MOST_NAMED])) + (", …" if len(missing) > MOST_NAMED else "")
        one = len(missing) == 1
        raise UsageError(
            f"{'Shard' if one else 'Shards'} {named} of {count} {'is' if one else 'are'} missing;"
            f" `handful classify SOURCE --shard I/{count}` makes {'it' if one else 'them'}."
        )


def _about(path: Path) -> dict[str, Any] | None:
    with _opened(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        about = json.loads(metadata[ABOUT])
    except (KeyError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def _opened(path: Path) -> pq.ParquetFile:
    import pyarrow as pa  # takes 0.3 s
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as e:
        raise UsageError(f"{path} is not there; the parts of all shards are expected.") from e
    except (pa.ArrowException, OSError) as e:
        raise UsageError(
            f"{path} is no whole Parquet file ({str(e).splitlines()[0].rstrip('.')}); the parts of all shards, each"
            " written to its end, are expected."
        ) from e
