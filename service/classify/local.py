"""The local engine: classifies photos and folders of photos on this machine, one row per image, in flat memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from handful.service.classify.given import GivenPhotos, fetched_ahead
from handful.service.classify.result_files import (
    ENDINGS,
    Journal,
    Row,
    Summary,
    columns,
    result_row,
    summarised,
    write_result_file,
)
from handful.service.terminal.output import check_out

if TYPE_CHECKING:  # it brings torch, which the checks do not need
    from handful.service.classifier import Classifier
    from handful.service.lean.classifier import OnnxClassifier


def classify_sources(
    classifier: Classifier | OnnxClassifier,
    sources: GivenPhotos,
    out: Path,
    *,
    resume: bool = False,
    tta: bool = False,
    excel: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Classifies every image into the file `out`; an unreadable one becomes a row with its error.

    Raises `UsageError` if `out` has another ending than .csv, .jsonl or .parquet, and if an earlier run left its
    journal and `resume` is not set.
    """
    check_out(out, ENDINGS)
    shard = {"shard": str(sources.shard)} if sources.shard else {}
    run = {"model": classifier.card.model, "weights": classifier.card.files, "tta": tta, **shard}
    journal = Journal(out, run)
    done = journal.open(resume=resume)
    progress(len(done))
    sources.own_files = {out.absolute(), out.resolve(), journal.path.absolute(), journal.path.resolve()}
    remaining = (photo for photo in sources if sources.name(photo) not in done)
    with journal.appending() as append:
        for path, result in classifier.classify(fetched_ahead(remaining), tta=tta):
            append(result_row(sources.name(path), result, classifier.labels))
            progress(1)
    summary = summarised(journal.rows(), resumed=len(done))
    write_result_file(
        out, journal.rows(), columns(classifier.labels), excel=excel, about=run | _about(classifier, sources)
    )
    journal.delete()
    return summary


def _about(classifier: Classifier | OnnxClassifier, sources: GivenPhotos) -> Row:
    """What a file of rows tells of its run, beside what must be the same to go on with it."""
    return {
        "labels": list(classifier.labels),
        "sources": [str(source) for source in sources.sources],
        "engine": classifier.engine_label,
    }


def classify_in_memory(
    classifier: Classifier | OnnxClassifier,
    sources: GivenPhotos,
    *,
    tta: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Row]:
    """The rows that `classify_sources` would write, in a list."""
    rows: list[Row] = []
    for path, result in classifier.classify(fetched_ahead(sources), tta=tta):
        rows.append(result_row(sources.name(path), result, classifier.labels))
        progress(1)
    return rows
