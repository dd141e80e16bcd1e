"""Checks the photos of a folder before a model learns from them: unreadable, duplicate, contradictory, too few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from handful.service.artifact.errors import DataError, ImageError
from handful.service.artifact.label_names import OTHER, is_other
from handful.service.artifact.sources.listing import name_below
from handful.service.artifact.thumbnails import Thumbnail
from handful.training.embeddings import Embedded
from handful.training.photos.duplicates import group_numbers, near_duplicates, other_groups
from handful.training.photos.known import DIGITS, KnownPhotos
from handful.training.photos.sources import Dataset, Problem

MIN_IMAGES = 5  # usable images that a label needs
NO_LABEL = -1  # in place of a label's number: a photo under other/
IMBALANCE = 10  # the largest label has this many times the images of the smallest
REASONS = {  # why files are left out, after their number
    "unreadable": "unreadable",
    "duplicate": "the same as another photo",
    "two_labels": "the same picture under two labels",
    "too_few_images": "of a label with too few photos",
    "row": "rows of a table that name no photo with one label",
    "doubted_label": "under a label that the champion is sure is wrong",
}


@dataclass(frozen=True)
class Relabelled:
    """A known photo that the folder now holds under another label."""

    row: int
    path: str  # relative to the folder
    former: str
    label: str


@dataclass(frozen=True)
class Inspected:
    """The N photos to learn from, and every problem that was found on the way.

    In a retrain the first `known` rows are the photos that the champion knows; in a training there are none.
    """

    labels: tuple[str, ...]  # those that have photos
    images: tuple[Embedded, ...]
    label_index: np.ndarray  # (N,) int64, into `labels`
    groups: np.ndarray  # (N,) int64: near-duplicates share a number
    problems: tuple[Problem, ...]
    found: int  # files below the labels, rows of a table, and known photos that the source lacks; without `other`
    left_out: Mapping[str, int] = field(default_factory=dict)  # files by reason; together with the N photos: `found`
    known: int = 0  # rows
    recognised: int = 0  # files of the folder that are known photos
    relabelled: tuple[Relabelled, ...] = ()
    folds: np.ndarray | None = None  # (known, R) fold numbers of the known photos
    root: Path | None = None  # the folder
    other: tuple[Embedded, ...] = ()  # M photos of no label: known ones, then new ones
    generic: np.ndarray | None = None  # (G, D) embeddings of generated pictures, by the same network

    @property
    def names(self) -> list[str]:
        """The path below the folder; for a known photo that the folder does not hold, `picture_name`'s words."""
        return [picture_name(image, self.root) for image in self.images]

    @property
    def thumbnails(self) -> list[Thumbnail]:
        """What an artifact keeps for people to see."""
        return [Thumbnail(image.thumbnail, file_name(image, self.root)) for image in self.images]

    @property
    def embeddings(self) -> np.ndarray:
        return np.stack([image.embedding for image in self.images])  # (N, D)

    @property
    def other_embeddings(self) -> np.ndarray:
        rows = [image.embedding for image in self.other]
        return np.stack(rows) if rows else np.empty((0, self.images[0].embedding.size), np.float32)  # (M, D)

    @property
    def other_groups(self) -> np.ndarray:
        return other_groups(self.other_embeddings)  # (M,) int64

    @property
    def per_label(self) -> dict[str, int]:
        counts = np.bincount(self.label_index, minlength=len(self.labels))
        return {label: int(n) for label, n in zip(self.labels, counts, strict=True)}


def inspect(
    dataset: Dataset,
    results: list[Embedded | ImageError],
    min_images: int = MIN_IMAGES,
    known: KnownPhotos | None = None,
) -> Inspected:
    """Leaves out photos that cannot be used, reports each with the reason, and groups near-duplicates.

    With `known`, the result holds the known photos and those that the folder adds. A known photo counts once, under
    the folder's label.
    """
    inspector = _Inspector(dataset, results, known)
    inspector.leave_out_unreadable()
    inspector.leave_out_duplicates()
    inspector.separate_other()
    inspector.separate_known()
    inspector.leave_out_small_labels(min_images)
    return inspector.finish()


def require_labels(inspected: Inspected, wanted: int = 2) -> None:
    """`DataError` where fewer than two labels are left, or than one where a single label is wanted.

    Of two labels that are wanted one must not get lost: a model of the other would be another than was asked for.
    """
    if len(inspected.labels) < min(wanted, 2):
        left = ", ".join(f"{k} ({v})" for k, v in inspected.per_label.items()) or "none"
        raise DataError(
            f"At least {'two labels' if wanted > 1 else 'one label'} with {MIN_IMAGES} usable images"
            f"{' each are' if wanted > 1 else ' is'} needed; labels left: {left};"
            f" {len(inspected.problems)} problems were found, `handful check` lists them."
        )


class _Inspector:
    def __init__(self, dataset: Dataset, results: list[Embedded | ImageError], known: KnownPhotos | None) -> None:
        self.dataset = dataset
        self.problems = list(dataset.problems)
        self.results = results
        self.kept: list[tuple[Embedded, int]] = []
        self.known = known or KnownPhotos((), (), np.empty(0, dtype=np.int64), None)
        known_labels = self.known.labels
        named = [None if is_other(name, known_labels) else name for name in dataset.labels]
        self.labels = tuple(dict.fromkeys([*known_labels, *filter(None, named)]))
        self.numbers = [NO_LABEL if name is None else self.labels.index(name) for name in named]
        self.other: list[Embedded] = []
        self.other_files = 0
        self.before = [*zip(self.known.images, map(int, self.known.label_index), strict=True)]
        self.relabelled: dict[int, tuple[Embedded, int]] = {}  # by row of `before`
        self.recognised = 0
        self.left_out: Counter[str] = Counter({"row": dataset.rows_left_out})  # by reason

    def add(self, image: Embedded, kind: str, detail: str) -> None:
        self.problems.append(Problem(self.name(image), kind, detail))

    def name(self, image: Embedded) -> str:
        return picture_name(image, self.dataset.root)

    def leave_out_unreadable(self) -> None:
        for example, result in zip(self.dataset.examples, self.results, strict=True):
            if isinstance(result, ImageError):
                name = name_below(example.path, self.dataset.root)
                self.problems.append(Problem(name, result.code, f"{result} Replace or delete it."))
                self.left_out["unreadable"] += 1
            else:
                self.kept.append((result, self.numbers[example.label]))

    def leave_out_duplicates(self) -> None:
        """Of copies under one label the first stays; of copies under two labels none does."""
        by_picture: dict[str, list[tuple[Embedded, int]]] = {}
        for image, label in self.kept:
            by_picture.setdefault(image.pixels_sha256, []).append((image, label))
        self.kept = []
        for copies in by_picture.values():
            first = self.name(copies[0][0])
            if len({label for _, label in copies}) > 1:
                for image, _ in copies:
                    others = ", ".join(self.name(other) for other, _ in copies if other is not image)
                    self.add(image, "two_labels", f"The same picture is {others}; keep it under the right label only.")
                self.left_out["two_labels"] += len(copies)
                continue
            self.kept.append(copies[0])
            self.left_out["duplicate"] += len(copies) - 1
            for image, _ in copies[1:]:
                self.add(image, "duplicate", f"It is the same picture as {first}; delete one of them.")

    def separate_other(self) -> None:
        """Leaves in `kept` only photos of labels. A photo that was of no label and now has one moves to that label."""
        given = [image for image, label in self.kept if label == NO_LABEL]
        self.kept = [(image, label) for image, label in self.kept if label != NO_LABEL]
        self.other_files = len(given)
        labelled = {image.pixels_sha256 for image, _ in self.kept}
        before = [image for image in self.known.other if image.pixels_sha256 not in labelled]
        again = {image.pixels_sha256 for image in before}
        new = (image for image in given if image.pixels_sha256 not in again)
        self.other = [*before, *sorted(new, key=lambda image: image.content_sha256)]
        if self.other_files and len(self.other) < MIN_IMAGES:
            detail = f"It has {len(self.other)} photos of no label; they are kept, and used from {MIN_IMAGES} on."
            self.problems.append(Problem(OTHER, "few_other", detail))

    def separate_known(self) -> None:
        """Leaves in `kept` only new photos. A known photo is recognised by its bytes or by its pixels.

        They are put in the order of their bytes: the same photos make the same model, whatever they are called.
        """
        rows = {image.pixels_sha256: row for row, (image, _) in enumerate(self.before)}
        rows |= {image.content_sha256: row for row, (image, _) in enumerate(self.before)}
        fresh: list[tuple[Embedded, int]] = []
        for image, label in self.kept:
            row = rows.get(image.content_sha256, rows.get(image.pixels_sha256))
            if row is None:
                fresh.append((image, label))
                continue
            self.recognised += 1
            self.before[row] = (replace(self.before[row][0], path=image.path, kept_as=None), self.before[row][1])
            if label != self.before[row][1]:
                self.relabelled[row] = (self.before[row][0], label)
        self.kept = sorted(fresh, key=lambda row: (row[1], row[0].content_sha256))

    def leave_out_small_labels(self, min_images: int) -> None:
        """A label that the champion knows needs one photo only."""
        moved = [label for _, label in self.relabelled.values()]
        stayed = [label for row, (_, label) in enumerate(self.before) if row not in self.relabelled]
        counts = Counter([label for _, label in self.kept] + moved + stayed)
        present = {label for label in range(len(self.labels)) if counts[label]}
        for label, name in enumerate(self.labels):
            usable = counts[label]
            if usable < (1 if name in self.known.labels else min_images) and not self._empty(name):
                kind = "one_image" if usable == 1 else "too_few_images"
                detail = f"It has {usable} usable images, {min_images} are needed; add some. It is left out."
                self.problems.append(Problem(name, kind, detail))
                present.discard(label)
        large = [(image, label) for image, label in self.kept if label in present]
        self.left_out["too_few_images"] += len(self.kept) - len(large)
        self.kept = large
        self.relabelled = {row: moved for row, moved in self.relabelled.items() if moved[1] in present}
        self._report_imbalance({self.labels[label]: counts[label] for label in present})

    def _empty(self, name: str) -> bool:
        return any(problem.path == name and problem.kind == "empty_label" for problem in self.problems)

    def _report_imbalance(self, counts: dict[str, int]) -> None:
        if not counts:
            return
        largest = max(counts, key=lambda name: counts[name])
        for name, count in counts.items():
            if counts[largest] >= IMBALANCE * count:
                detail = f"It has {count} images, {largest} has {counts[largest]}; add more of {name}."
                self.problems.append(Problem(name, "imbalance", detail))

    def finish(self) -> Inspected:
        known = [self.relabelled.get(row, before) for row, before in enumerate(self.before)]
        rows = [*known, *self.kept]
        order = sorted({label for _, label in rows})
        index = np.array([order.index(label) for _, label in rows], dtype=np.int64)
        images = tuple(image for image, _ in rows)
        groups = self._group(images, index) if images else np.arange(0)
        return Inspected(
            tuple(self.labels[label] for label in order),
            images,
            index,
            groups,
            tuple(self.problems),
            len(self.results) + self.dataset.rows_left_out - self.other_files + len(known) - self.recognised,
            left_out={reason: self.left_out[reason] for reason in REASONS if self.left_out[reason]},
            known=len(known),
            recognised=self.recognised,
            relabelled=tuple(
                Relabelled(row, self.name(image), self.labels[self.before[row][1]], self.labels[label])
                for row, (image, label) in sorted(self.relabelled.items())
            ),
            folds=self.known.folds,
            root=self.dataset.root,
            other=tuple(self.other),
        )

    def _group(self, images: tuple[Embedded, ...], index: np.ndarray) -> np.ndarray:
        if not images[0].embedding.size:  # only embeddings show near-duplicates
            return np.arange(len(images))
        pairs = near_duplicates(np.stack([image.embedding for image in images]), index)
        for first, second, likeness in pairs:
            if second < len(self.before):
                continue  # two known photos: reported when they were learned
            kind = "near_duplicate" if index[first] == index[second] else "near_duplicate_two_labels"
            advice = "they are kept in one fold" if kind == "near_duplicate" else "check which label is right"
            self.add(
                images[second], kind, f"It looks like {self.name(images[first])} (likeness {likeness:.2f}); {advice}."
            )
        return group_numbers([(first, second) for first, second, _ in pairs], len(images))


def picture_name(image: Embedded, root: Path | None) -> str:
    """What a person calls an image: its path below `root`, or the name that it was learned under."""
    if image.kept_as is None:
        return file_name(image, root)
    if image.kept_as:
        return f"{image.kept_as} (learned before)"
    return f"a photo learned before ({image.content_sha256[:DIGITS]}…)"


def file_name(image: Embedded, root: Path | None) -> str:
    """The name to keep in an artifact: relative to `root`, or the one kept before; empty where there was none."""
    if image.kept_as is not None:
        return image.kept_as
    below = root is not None and image.path.is_relative_to(root)
    return name_below(image.path, root if root is not None and below else image.path.parent)
