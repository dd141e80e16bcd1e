"""The local engine: classifies photos and folders of photos on this machine, one row per image, in flat memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from handful.service.artifact.errors import UsageError
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
from handful.service.classify.shards import Shard
from handful.service.terminal.output import check_out

if TYPE_CHECKING:  # they bring torch and numpy, which the checks do not need
    from handful.service.artifact.sources.reader import ListedPhotos
    from handful.service.classifier import Classifier


class GivenPhotos:
    """The photos that a command was given: photos, folders of photos, zips, tables and datasets of the Hub.

    The name of a photo is its path below the folder, the zip or the table's folder, if one source was given; otherwise
    the path as it was given. `left_out` counts the other files by kind; it is complete once all photos were named.
    """

    def __init__(self, paths: Sequence[Path], path_column: str | None = None, shard: Shard | None = None) -> None:
        """Raises `UsageError` for a path that is not there. Names are relative to `folder`; None: all shards."""
        for path in paths:
            if not (path.exists() or path.as_posix().startswith("hf:/")):
                raise UsageError(f"{path} is not there; a photo or a folder, zip or table of photos is expected.")
        self.paths = tuple(dict.fromkeys(paths))
        self._path_column, self.left_out, self.shard = path_column, Counter[str](), shard
        self.own_files: set[Path] = set()  # of the command, which may write into the folder
        self.folder = self.paths[0] if len(self.paths) == 1 and self.paths[0].is_dir() else None

    def __iter__(self) -> Iterator[Path]:
        shard = self.shard
        return (path for path in self.every() if shard is None or shard.holds(self.name(path)))

    def count(self) -> tuple[int, int]:
        """How many photos there are, and how many of them in all shards."""
        own = every = 0
        for path in self.every():
            every += 1
            own += self.shard is None or self.shard.holds(self.name(path))
        return own, every

    def every(self) -> Iterator[Path]:
        """The photos of all shards."""
        from handful.service.artifact.image_files import images  # brings numpy, which the check does not need

        left_out = Counter[str]()
        for path in self.paths:
            if listed := self._listed[path]:
                left_out += listed.left_out
                yield from listed.photos
            else:
                yield from images(path, left_out, self.own_files) if path.is_dir() else (path,)
        self.left_out = left_out

    @cached_property
    def _listed(self) -> dict[Path, ListedPhotos | None]:
        """The sources that are read to know their photos; None for photos and folders."""
        from handful.service.artifact.sources.reader import list_photos

        return {path: list_photos(path, self._path_column) for path in self.paths}

    @property
    def read_as(self) -> list[str]:
        """A line for each source that is no photo or folder."""
        counts = {path: len(listed.photos) for path, listed in self._listed.items() if listed}
        return [f"{path}: {count:,} photo{'s' * (count != 1)}" for path, count in counts.items()]

    def name(self, path: Path) -> str:
        return os.fsencode(self._below(path).as_posix()).decode("utf-8", "backslashreplace")

    def _below(self, path: Path) -> Path:
        if self.folder:
            return path.relative_to(self.folder)
        for source, listed in self._listed.items():
            if listed and path.is_relative_to(listed.root):
                below = path.relative_to(listed.root)
                return below if len(self.paths) == 1 else source / below
        return path


def classify_sources(
    classifier: Classifier,
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
    remaining = (path for path in sources if sources.name(path) not in done)
    with journal.appending() as append:
        for path, result in classifier.classify(remaining, tta=tta):
            append(result_row(sources.name(path), result, classifier.labels))
            progress(1)
    summary = summarised(journal.rows(), resumed=len(done))
    write_result_file(
        out, journal.rows(), columns(classifier.labels), excel=excel, about=run | _about(classifier, sources)
    )
    journal.delete()
    return summary


def _about(classifier: Classifier, sources: GivenPhotos) -> Row:
    """What a file of rows tells of its run, beside what must be the same to go on with it."""
    return {
        "labels": list(classifier.labels),
        "sources": [source.as_posix() for source in sources.paths],
        "engine": classifier.network.engine.label,
    }


def classify_in_memory(
    classifier: Classifier, sources: GivenPhotos, *, tta: bool = False, progress: Callable[[int], None] = lambda _: None
) -> list[Row]:
    """The rows that `classify_sources` would write, in a list."""
    rows: list[Row] = []
    for path, result in classifier.classify(sources, tta=tta):
        rows.append(result_row(sources.name(path), result, classifier.labels))
        progress(1)
    return rows
