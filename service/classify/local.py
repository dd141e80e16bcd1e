"""The local engine: classifies photos and folders of photos on this machine, one row per image, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from handful.service.classify.given import GivenPhotos, Photo, fetched_ahead
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
    from handful.service.artifact.card import ModelCard
    from handful.service.classifier import Classifier
    from handful.service.lean.classifier import OnnxClassifier
    from handful.service.lean.kept_classifier import KeptClassifier


def classify_sources(
    computed: RowsFrom,
    out: Path,
    *,
    resume: bool = False,
    excel: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Classifies every image into the file `out`; an unreadable one becomes a row with its error.

    Raises `UsageError` if `out` has another ending than .csv, .jsonl or .parquet, and if an earlier run left its
    journal and `resume` is not set.
    """
    check_out(out, ENDINGS)
    card, sources = computed.card, computed.sources
    shard = {"shard": str(sources.shard)} if sources.shard else {}
    run = {"model": card.model, "weights": card.files, "tta": computed.tta, **shard}
    journal = Journal(out, run)
    done = journal.open(resume=resume)
    progress(len(done))
    sources.own_files = {out.absolute(), out.resolve(), journal.path.absolute(), journal.path.resolve()}
    resumed = len(done)
    remaining = (photo for photo in sources if sources.name(photo) not in done)
    with journal.appending() as append, closing(computed.rows(remaining)) as rows:
        for row in rows:
            append(row)
            progress(1)
    about = run | {
        "labels": list(computed.labels),
        "sources": [str(source) for source in sources.sources],
        "engine": computed.engine,
    }
    summary = summarised(journal.rows(), resumed=resumed)
    write_result_file(out, journal.rows(), columns(computed.labels), excel=excel, about=about)
    journal.delete()
    return summary


class RowsFrom(Protocol):
    """Photos -> one row each: by this process, or elsewhere."""

    card: ModelCard
    labels: tuple[str, ...]
    sources: GivenPhotos
    tta: bool

    def rows(self, photos: Iterator[Photo]) -> Generator[Row]: ...

    @property
    def engine(self) -> str: ...


class RowsFromHere:
    """In the photos' order, computed by this process."""

    def __init__(
        self, classifier: Classifier | OnnxClassifier | KeptClassifier, sources: GivenPhotos, *, tta: bool = False
    ) -> None:
        self._classifier, self.card, self.labels = classifier, classifier.card, classifier.labels
        self.sources, self.tta = sources, tta

    @property
    def engine(self) -> str:
        return self._classifier.engine_label

    def rows(self, photos: Iterator[Photo]) -> Generator[Row]:
        for photo, result in self._classifier.classify(fetched_ahead(photos), tta=self.tta):
            yield result_row(self.sources.name(photo), result, self.labels)


def classify_in_memory(computed: RowsFrom, progress: Callable[[int], None] = lambda _: None) -> list[Row]:
    """The rows that `classify_sources` would write, in a list."""
    rows: list[Row] = []
    for row in computed.rows(iter(computed.sources)):
        rows.append(row)
        progress(1)
    return rows
