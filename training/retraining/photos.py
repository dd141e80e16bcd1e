"""The photos of a retrain: the new ones beside what is known of the old, or all of them again, out of their folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import DataError, ImageError, UsageError
from handful.service.artifact.image_files import relative_name
from handful.service.compute.network import Network
from handful.service.terminal.progress import progress_bar
from handful.training.backbone import Backbone
from handful.training.embeddings import Embedded, Embedder
from handful.training.photos.inspection import Inspected, inspect, require_labels
from handful.training.photos.known import Known, recognised
from handful.training.photos.sources import Dataset, Example, Problem, read_folder
from handful.training.retraining.champion import Champion
from handful.training.train import preprocessing_of

Result = Embedded | ImageError


@dataclass(frozen=True)
class Gathered:
    """What a challenger learns from.

    `inspected` holds all photos as `backbone` sees them; the champion's backbone made what is kept in `known`, and of
    the photos that are not known, `fresh` (F, D). `missing` known photos are in none of the folders.
    """

    dataset: Dataset
    known: Known
    inspected: Inspected
    backbone: Backbone
    fresh: np.ndarray
    missing: int = 0


def gather_new(
    champion: Champion, folder: Path | None, drop: Collection[str], rename: Mapping[str, str], cache: Path
) -> Gathered:
    """The folder's photos beside all that are known; files whose bytes are known are not looked at by the network."""
    known = champion.known.edited(drop, rename)
    dataset = Dataset(Path(), (), (), (), ()) if folder is None else read_folder(folder)
    paths = [example.path for example in dataset.examples]
    embedder = champion.embedder(cache)
    contents = zip(paths, embedder.contents(paths), strict=True)
    found: dict[Path, Result] = dict(
        recognised(champion.known, {path: content for path, content in contents if isinstance(content, str)})
    )
    unknown = [path for path in paths if path not in found]
    found.update(zip(unknown, _embedded(unknown, embedder), strict=True))
    inspected = inspect(dataset, [found[path] for path in paths], known=known)
    require_labels(inspected)
    return Gathered(dataset, known, inspected, champion.backbone, inspected.embeddings[inspected.known :])


def _embedded(paths: Sequence[Path], embedder: Embedder) -> list[Result]:
    with progress_bar("embed", len(paths)) as progress:
        return embedder.embed(paths, progress)


def gather_again(
    champion: Champion, folders: Sequence[Path], drop: Collection[str], rename: Mapping[str, str], cache: Path
) -> Gathered:
    """All photos of all folders, as the pretrained backbone sees them.

    The folders' labels hold, whatever the champion learned: of a picture that is in several, the last folder's.
    """
    parts = [read_folder(Path(os.path.abspath(folder))) for folder in folders]  # noqa: PTH100 - links stay
    _raise_unless_named(drop, rename, champion.known.labels, *(part.labels for part in parts))
    backbone = champion.pretrained()
    network = Network(backbone.network)
    embedder = Embedder(network, preprocessing_of(backbone), backbone.sha256, cache)
    dataset, results = _union([(part, _embedded(_paths(part), embedder)) for part in _edited(parts, drop, rename)])
    known = champion.known.edited(
        [label for label in drop if label in champion.known.labels],
        {old: new for old, new in rename.items() if old in champion.known.labels},
    )
    there, images = _there(known, results)
    inspected = inspect(dataset, results, known=replace(there, images=images))
    _raise_if_lost(champion, there, inspected)
    require_labels(inspected)
    fresh = inspected.embeddings[inspected.known :]
    if champion.card.finetune and len(fresh):
        seen = _embedded([image.path for image in inspected.images[inspected.known :]], champion.embedder(cache))
        fresh = np.stack([each.embedding for each in seen if isinstance(each, Embedded)])
    return Gathered(dataset, there, inspected, backbone, fresh, len(known.images) - len(there.images))


def _raise_unless_named(drop: Collection[str], rename: Mapping[str, str], *labels: Sequence[str]) -> None:
    there = dict.fromkeys(label for each in labels for label in each)
    for flag, names in (("--drop", drop), ("--rename", rename)):
        for name in names:
            if name not in there:
                raise UsageError(f"{flag} names {name!r}; labels of the model and the folders: {', '.join(there)}.")


def _edited(parts: Sequence[Dataset], drop: Collection[str], rename: Mapping[str, str]) -> list[Dataset]:
    """Without the dropped labels, the others renamed."""
    edited = []
    for part in parts:
        named = [rename.get(label, label) for label in part.labels]
        labels = tuple(dict.fromkeys(named))
        examples = tuple(
            Example(example.path, labels.index(named[example.label]))
            for example in part.examples
            if part.labels[example.label] not in drop
        )
        edited.append(replace(part, labels=labels, examples=examples))
    return edited


def _paths(part: Dataset) -> list[Path]:
    return [example.path for example in part.examples]


def _union(parts: Sequence[tuple[Dataset, list[Result]]]) -> tuple[Dataset, list[Result]]:
    """One folder, as it were, below which all of them lie; measured on are the last one's other parts."""
    root = Path(os.path.commonpath([part.root for part, _ in parts]))
    labels = tuple(dict.fromkeys(label for part, _ in parts for label in part.labels))
    rows: list[tuple[Example, Result]] = []
    later: set[str] = set()
    for part, results in reversed(parts):
        own = [
            (Example(example.path, labels.index(part.labels[example.label])), result)
            for example, result in zip(part.examples, results, strict=True)
            if isinstance(result, ImageError) or result.pixels_sha256 not in later
        ]
        rows = own + rows
        later |= {result.pixels_sha256 for _, result in own if isinstance(result, Embedded)}
    problems = tuple(problem for part, _ in parts for problem in _problems_below(root, part))
    held_out = parts[-1][0].held_out
    return Dataset(root, labels, tuple(row for row, _ in rows), problems, held_out), [result for _, result in rows]


def _problems_below(root: Path, part: Dataset) -> list[Problem]:
    folder = "" if part.root == root else f"{relative_name(part.root, root)}/"
    return [replace(problem, path=f"{folder}{problem.path}") for problem in part.problems]


def _there(known: Known, results: Sequence[Result]) -> tuple[Known, tuple[Embedded, ...]]:
    """The known photos that a folder holds, as they are known, and as they were found."""
    found = [result for result in results if isinstance(result, Embedded)]
    by_hash = {each.pixels_sha256: each for each in found} | {each.content_sha256: each for each in found}
    files = [by_hash.get(each.content_sha256, by_hash.get(each.pixels_sha256)) for each in known.images]
    rows = np.array([row for row, file in enumerate(files) if file is not None], dtype=np.intp)
    return known.only(rows), tuple(file for file in files if file is not None)


def _raise_if_lost(champion: Champion, there: Known, inspected: Inspected) -> None:
    """A label must not vanish only because its folder was not named."""
    for index, label in enumerate(there.labels):
        if label not in inspected.labels and not (there.label_index == index).any():
            raise DataError(
                f"The folders hold no photo of {label}, which {champion.card.model} knows; name the folder with its"
                f" photos (--with FOLDER), or unlearn it (--drop {label})."
            )
