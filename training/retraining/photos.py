"""The photos of a retrain: new ones beside the known ones, or, to fine-tune again, all of them from their folders."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import DataError, ImageError, UsageError
from handful.service.artifact.label_names import OTHER
from handful.service.artifact.sources.listing import name_below
from handful.service.terminal.progress import LOOKING, progress_bar, tell
from handful.training.backbone import Backbone
from handful.training.embeddings import Embedded, Embedder
from handful.training.finetune.distributed import Ranks
from handful.training.learning import cache_folder, embedder_of
from handful.training.photos.generic import cached_generic
from handful.training.photos.inspection import Inspected, Relabelled, inspect, picture_name, require_labels
from handful.training.photos.known import KnownPhotos, match_known
from handful.training.photos.other import rows_moved_to_other, with_other
from handful.training.photos.sources import Dataset, Example, Problem, read_folder, wanted_labels
from handful.training.retraining.champion import ChampionModel
from handful.training.settings import RetrainSettings

Result = Embedded | ImageError


@dataclass(frozen=True)
class RetrainPhotos:
    """The photos that a challenger learns from.

    `inspected` holds all of them with embeddings by `backbone`. The champion's own backbone made the embeddings in
    `known`, and `fresh` (F, D) of the photos that are not known. `missing` counts known photos that no folder holds,
    where all photos were asked for. `seconds` were spent on reading and embedding.
    """

    dataset: Dataset
    known: KnownPhotos
    inspected: Inspected
    backbone: Backbone
    fresh: np.ndarray
    missing: int = 0
    seconds: float = 0.0
    moved: tuple[Relabelled, ...] = ()  # known photos of a label that now are of no label
    fresh_other: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))  # (F', D) as `fresh`

    @property
    def new_other(self) -> np.ndarray:
        """(M,) bool: which photos of no label the champion did not know."""
        before = {image.pixels_sha256 for image in self.known.other}
        return np.array([image.pixels_sha256 not in before for image in self.inspected.other], dtype=bool)

    @property
    def nothing_new(self) -> bool:
        before, now = ({image.pixels_sha256 for image in each} for each in (self.known.other, self.inspected.other))
        return (
            len(self.inspected.images) == self.inspected.known
            and not self.inspected.relabelled
            and not self.moved
            and before == now
        )


def read_photos(folder: Path | None, settings: RetrainSettings, champion: ChampionModel, ranks: Ranks) -> RetrainPhotos:
    """Reads and inspects what `settings` ask for, and embeds what was not embedded before."""
    started = time.monotonic()
    if settings.finetune is None:
        photos = _read_new(champion, folder, settings)
    else:
        folders = [*settings.old, *([] if folder is None else [folder])]
        with ranks.first_rank_first():  # the other processes then find all embeddings in the cache
            photos = read_again(champion, folders, settings)
    return replace(photos, seconds=time.monotonic() - started)


def _read(source: Path, settings: RetrainSettings, champion: ChampionModel) -> Dataset:
    dataset = read_folder(source, settings.columns, champion.known.labels)
    for words in dataset.first_words:
        tell(words)
    return dataset


def _read_new(champion: ChampionModel, folder: Path | None, settings: RetrainSettings) -> RetrainPhotos:
    """The folder's photos beside all known ones; the network skips files whose bytes are known."""
    known = champion.known.edited(settings.drop, settings.rename)
    dataset = Dataset(Path(), (), (), ()) if folder is None else _read(folder, settings, champion)
    dataset = with_other(dataset, settings.other, known.labels)
    paths = _paths(dataset)
    embedder = champion.embedder(cache_folder())
    contents = zip(paths, embedder.contents(paths), strict=True)
    readable = {path: content for path, content in contents if isinstance(content, str)}
    results: dict[Path, Result] = dict(match_known(champion.known, readable))
    unknown = [path for path in paths if path not in results]
    results.update(zip(unknown, _embed(unknown, embedder), strict=True))
    in_order = [results[path] for path in paths]
    kept, moved = _without_moved(known, dataset, in_order)
    inspected = replace(inspect(dataset, in_order, known=kept), generic=cached_generic(embedder))
    require_labels(inspected, wanted_labels(dataset, known.labels))
    fresh, fresh_other = inspected.embeddings[inspected.known :], _embeddings_of(_fresh_other(inspected, known))
    return RetrainPhotos(dataset, kept, inspected, champion.backbone, fresh, moved=moved, fresh_other=fresh_other)


def _without_moved(
    known: KnownPhotos, dataset: Dataset, results: Sequence[Result]
) -> tuple[KnownPhotos, tuple[Relabelled, ...]]:
    """The known photos that still have a label, and those that the data set holds as photos of no label now."""
    moved, stayed = rows_moved_to_other(known, dataset, results)
    gone = [
        Relabelled(int(row), picture_name(known.images[row], None), known.labels[known.label_index[row]], OTHER)
        for row in moved
    ]
    return known.only(stayed), tuple(gone)


def _fresh_other(inspected: Inspected, known: KnownPhotos) -> list[Embedded]:
    before = {image.pixels_sha256 for image in known.other}
    return [image for image in inspected.other if image.pixels_sha256 not in before]


def _embeddings_of(images: Sequence[Result]) -> np.ndarray:
    """(N, D)"""
    rows = [image.embedding for image in images if isinstance(image, Embedded)]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def read_again(champion: ChampionModel, folders: Sequence[Path], settings: RetrainSettings) -> RetrainPhotos:
    """All photos of all folders, with embeddings by the pretrained backbone.

    The folders' labels count, not those that the champion learned. A picture in several folders has the label of the
    last one.
    """
    drop, rename = settings.drop, settings.rename
    parts = [_with_absolute_paths(_read(folder, settings, champion)) for folder in folders]
    of_none = [Path(os.path.abspath(folder)) for folder in settings.other]  # noqa: PTH100 - links stay
    parts[-1] = with_other(parts[-1], of_none, champion.known.labels)
    taught = (OTHER,) if champion.known.other else ()
    _raise_unless_named(drop, rename, champion.known.labels, taught, *(part.labels for part in parts))
    backbone = champion.pretrained()
    embedder = embedder_of(backbone, thumbnails=True)
    dataset, results = _union([(part, _embed(_paths(part), embedder)) for part in _edited(parts, drop, rename)])
    known = champion.known.edited(
        [label for label in drop if label in (*champion.known.labels, *taught)],
        {old: new for old, new in rename.items() if old in champion.known.labels},
    )
    kept, moved = _without_moved(known, dataset, results)
    held, images = _held_by(results, kept)
    inspected = inspect(dataset, results, known=replace(held, images=images, other=()))
    inspected = replace(inspected, generic=cached_generic(embedder))
    _raise_if_lost(champion, held, inspected)
    require_labels(inspected)
    fresh = inspected.embeddings[inspected.known :]
    if champion.card.finetune and len(fresh):
        again = _embed([image.path for image in inspected.images[inspected.known :]], champion.embedder(cache_folder()))
        fresh = _embeddings_of(again)
    return RetrainPhotos(dataset, held, inspected, backbone, fresh, len(kept.images) - len(held.images), moved=moved)


def _with_absolute_paths(dataset: Dataset) -> Dataset:
    """Links stay as they are."""
    examples = tuple(replace(example, path=example.path.absolute()) for example in dataset.examples)
    return replace(dataset, root=Path(os.path.abspath(dataset.root)), examples=examples)  # noqa: PTH100


def _embed(paths: Sequence[Path], embedder: Embedder) -> list[Result]:
    with progress_bar(LOOKING, len(paths)) as progress:
        return embedder.embed(paths, progress)


def _paths(dataset: Dataset) -> list[Path]:
    return [example.path for example in dataset.examples]


def _raise_unless_named(drop: Collection[str], rename: Mapping[str, str], *labels: Sequence[str]) -> None:
    existing = dict.fromkeys(label for each in labels for label in each)
    for flag, names in (("--drop", drop), ("--rename", rename)):
        for name in names:
            if name not in existing:
                raise UsageError(f"{flag} names {name!r}; labels of the model and the folders: {', '.join(existing)}.")


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


def _union(parts: Sequence[tuple[Dataset, list[Result]]]) -> tuple[Dataset, list[Result]]:
    """One data set whose root is the common parent of all folders; its held-out parts are those of the last folder."""
    root = Path(os.path.commonpath([part.root for part, _ in parts]))
    labels = tuple(dict.fromkeys(label for part, _ in parts for label in part.labels))
    rows: list[tuple[Example, Result]] = []
    later: set[str] = set()  # pictures of the later folders
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
    folder = "" if part.root == root else f"{name_below(part.root, root)}/"
    return [replace(problem, path=f"{folder}{problem.path}") for problem in part.problems]


def _held_by(results: Sequence[Result], known: KnownPhotos) -> tuple[KnownPhotos, tuple[Embedded, ...]]:
    """The known photos that a folder holds: as the champion keeps them, and as they were embedded now."""
    images = [result for result in results if isinstance(result, Embedded)]
    by_hash = {each.pixels_sha256: each for each in images} | {each.content_sha256: each for each in images}
    files = [by_hash.get(each.content_sha256, by_hash.get(each.pixels_sha256)) for each in known.images]
    rows = np.array([row for row, file in enumerate(files) if file is not None], dtype=np.intp)
    return known.only(rows), tuple(file for file in files if file is not None)


def _raise_if_lost(champion: ChampionModel, held: KnownPhotos, inspected: Inspected) -> None:
    """A label must not vanish only because its folder was forgotten on the command line."""
    for index, label in enumerate(held.labels):
        if label not in inspected.labels and not (held.label_index == index).any():
            raise DataError(
                f"The folders hold no photo of {label}, which {champion.card.model} knows; name the folder with its"
                f" photos (--with FOLDER), or unlearn it (--drop {label})."
            )
