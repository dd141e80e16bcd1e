"""A folder -> a predictions file: CSV, JSON lines or Parquet, one row a file, in flat memory.

Rows are first appended to a journal beside the result (`OUT.partial`, JSON lines). A killed
run leaves the journal; `resume=True` goes on after its last whole row. When every file has
its row the journal is turned into OUT, which appears in one rename.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from handful.service.artifact.atomic import move_into_place
from handful.service.artifact.errors import ImageError, UsageError
from handful.service.artifact.image_files import images, relative_name
from handful.service.classifier import Classifier, Prediction

Row = dict[str, Any]

PARQUET_ROWS = 4096  # rows a group; bounds what is in memory


@dataclass(frozen=True)
class Summary:
    images: int
    failed: int
    unknown: int
    resumed: int  # rows that an earlier run had already written


def classify_folder(
    classifier: Classifier,
    folder: Path,
    out: Path,
    *,
    resume: bool = False,
    tta: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Classifies every image below `folder`; an unreadable one is a row with its error.

    Raises `UsageError` for an ending other than .csv, .jsonl or .parquet, for a folder that is
    none, and for an unfinished run of the same OUT when `resume` is not asked for.
    """
    write = check_out(out)
    check_folder(folder)
    journal = out.with_name(out.name + ".partial")
    done = _open_journal(journal, classifier, resume=resume, tta=tta)
    progress(len(done))
    with journal.open("a", encoding="utf-8") as file:
        skip = {out.resolve(), journal.resolve()}
        todo = (p for p in images(folder) if relative_name(p, folder) not in done and p.absolute() not in skip)
        for path, answer in classifier.classify(todo, tta=tta):
            file.write(json.dumps(_row(relative_name(path, folder), answer, classifier.labels)) + "\n")
            file.flush()
            progress(1)
    summary = _summary(journal, len(done))
    part = out.with_name(out.name + ".writing")
    write(_rows(journal), columns(classifier.labels), part)
    move_into_place(part, out)
    journal.unlink()
    return summary


def check_out(out: Path) -> Callable[[Iterator[Row], list[str], Path], None]:
    """The writer that the file's ending asks for."""
    writers = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if out.suffix.lower() not in writers:
        raise UsageError(f"--out ends in {out.suffix or 'nothing'!r}; .csv, .jsonl or .parquet is allowed.")
    if not out.parent.is_dir() or out.is_dir():
        raise UsageError(f"--out {out} cannot be written there; a file in a folder that exists is expected.")
    return writers[out.suffix.lower()]


def check_folder(folder: Path) -> None:
    if not folder.is_dir():
        kind = "a file" if folder.is_file() else "not there"
        raise UsageError(f"{folder} is {kind}; a folder of images is expected.")


def columns(labels: Iterable[str]) -> list[str]:
    return ["path", "label", "confidence", "unknown", "error", *(f"probability_{label}" for label in labels)]


def _row(path: str, answer: Prediction | ImageError, labels: tuple[str, ...]) -> Row:
    if isinstance(answer, ImageError):
        return {"path": path, "label": "", "error": f"{answer.code}: {answer}"}
    probabilities = {f"probability_{k}": round(v, 6) for k, v in zip(labels, answer.probabilities, strict=True)}
    return {
        "path": path,
        "label": answer.label or "",
        "confidence": round(answer.confidence, 6),
        "unknown": answer.unknown,
        "error": "",
        **probabilities,
    }


def _open_journal(journal: Path, classifier: Classifier, *, resume: bool, tta: bool) -> set[str]:
    """The paths already answered; a row cut off by a kill is dropped. The first line names the model."""
    header = {"model": classifier.card.model, "weights": classifier.card.files, "tta": tta}
    if not journal.exists():
        journal.write_text(json.dumps(header) + "\n", encoding="utf-8")
        return set()
    if not resume:
        raise UsageError(f"{journal} is an unfinished run; add --resume to go on with it, or delete it to start again.")
    with journal.open("rb+") as file:
        whole = 0
        done: set[str] = set()
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            if number == 0 and entry != header:
                begun, now = _begun(entry), _begun(header)
                raise UsageError(f"{journal} was begun with {begun}, this is {now}; --resume needs the same.")
            if number:
                done.add(entry["path"])
            whole += len(line)
        file.truncate(whole)
    if not whole:
        journal.write_text(json.dumps(header) + "\n", encoding="utf-8")
    return done


def _begun(header: Row) -> str:
    return f"{header.get('model')} {'with' if header.get('tta') else 'without'} --tta"


def _rows(journal: Path) -> Iterator[Row]:
    with journal.open(encoding="utf-8") as file:
        yield from map(json.loads, islice(file, 1, None))


def _summary(journal: Path, resumed: int) -> Summary:
    images = failed = unknown = 0
    for row in _rows(journal):
        images += 1
        failed += bool(row["error"])
        unknown += bool(row.get("unknown"))
    return Summary(images, failed, unknown, resumed)


def _write_csv(rows: Iterator[Row], names: list[str], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_jsonl(rows: Iterator[Row], names: list[str], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            _write_line(file, {name: row.get(name) for name in names})


def _write_line(file: IO[str], value: Row) -> None:
    file.write(json.dumps(value, ensure_ascii=False) + "\n")


def _write_parquet(rows: Iterator[Row], names: list[str], path: Path) -> None:
    import pyarrow as pa  # 0.3 s, and only this format needs it
    import pyarrow.parquet as pq

    kinds = {"path": pa.string(), "label": pa.string(), "unknown": pa.bool_(), "error": pa.string()}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, PARQUET_ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema))
