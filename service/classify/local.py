"""The local engine: classifies a folder on this machine, one row per image, in flat memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from handful.service.artifact.errors import UsageError
from handful.service.artifact.image_files import images, relative_name
from handful.service.classify.result_files import ENDINGS, Journal, Summary, columns, result_row, write_result_file
from handful.service.terminal.output import check_out

if TYPE_CHECKING:  # it brings torch, which the checks do not need
    from handful.service.classifier import Classifier


def classify_folder(
    classifier: Classifier,
    folder: Path,
    out: Path,
    *,
    resume: bool = False,
    tta: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Summary:
    """Classifies every image below `folder`; an unreadable one becomes a row with its error.

    Raises `UsageError` if `out` has another ending than .csv, .jsonl or .parquet, if `folder` is no folder, and if an
    earlier run left its journal and `resume` is not set.
    """
    check_out(out, ENDINGS)
    check_images_folder(folder)
    journal = Journal(out, {"model": classifier.card.model, "weights": classifier.card.files, "tta": tta})
    done = journal.open(resume=resume)
    progress(len(done))
    own = {out.resolve(), journal.path.resolve()}
    remaining = (p for p in images(folder) if relative_name(p, folder) not in done and p.absolute() not in own)
    with journal.appending() as append:
        for path, result in classifier.classify(remaining, tta=tta):
            append(result_row(relative_name(path, folder), result, classifier.labels))
            progress(1)
    summary = journal.summary(resumed=len(done))
    write_result_file(out, journal.rows(), columns(classifier.labels))
    journal.delete()
    return summary


def check_images_folder(folder: Path) -> None:
    """Raises `UsageError` unless `folder` is a folder."""
    if not folder.is_dir():
        kind = "a file" if folder.is_file() else "not there"
        raise UsageError(f"{folder} is {kind}; a folder of images is expected.")
