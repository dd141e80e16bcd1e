"""Photos of no label: a folder `other/` beside the labels, or the folders that `--other` names.

They are never a label. The unknown detector learns from them what strangers look like.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import ImageError
from handful.service.artifact.image_files import walk
from handful.service.artifact.label_names import OTHER, is_other
from handful.training.embeddings import Embedded
from handful.training.photos.known import KnownPhotos
from handful.training.photos.sources import Dataset, Example


def with_other(dataset: Dataset, folders: Collection[Path], labels: Collection[str] = ()) -> Dataset:
    """As if the files below these folders lay in `other/`, in sub-folders or not; `labels` are those of the model."""
    if not folders:
        return dataset
    named = next((name for name in dataset.labels if is_other(name, labels)), None)
    names = dataset.labels if named is not None else (*dataset.labels, OTHER)
    number = names.index(OTHER if named is None else named)
    files = tuple(Example(file, number) for folder in folders for file in walk(folder))
    return replace(dataset, labels=names, examples=(*dataset.examples, *files))


def rows_moved_to_other(
    known: KnownPhotos, dataset: Dataset, results: Sequence[Embedded | ImageError]
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of known photos that the data set now holds as photos of no label, and all other rows.

    A picture that also lies under a label stays what it was.
    """
    given: dict[bool, set[str]] = {True: set(), False: set()}
    for example, result in zip(dataset.examples, results, strict=True):
        if isinstance(result, Embedded):
            none = is_other(dataset.labels[example.label], known.labels)
            given[none] |= {result.content_sha256, result.pixels_sha256}
    moved = given[True] - given[False]
    now = np.array([bool({each.content_sha256, each.pixels_sha256} & moved) for each in known.images], dtype=bool)
    return np.flatnonzero(now), np.flatnonzero(~now)
