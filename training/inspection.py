"""What a person should know about a folder before a model learns it: duplicates, contradictions, imbalance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from service.artifact.errors import DataError, ImageError
from service.artifact.files import relative_name
from training.dataset import Dataset, Problem
from training.embeddings import Embedded

MIN_IMAGES = 5  # usable images a label needs
IMBALANCE = 10  # the largest label has this many times the images of the smallest
NEAR_DUPLICATE = (0.85, 0.96)  # where the line may lie; see training/LOG.md


@dataclass(frozen=True)
class Inspected:
    """What can be learned from, row by row, and everything that was found on the way."""

    labels: tuple[str, ...]  # those that are left
    images: tuple[Embedded, ...]
    label_index: np.ndarray  # (N,) int64, into `labels`
    groups: np.ndarray  # (N,) int64: near-duplicates share a number
    problems: tuple[Problem, ...]
    found: int  # images and other files below the labels

    @property
    def embeddings(self) -> np.ndarray:
        return np.stack([image.embedding for image in self.images])  # (N, D)

    @property
    def per_label(self) -> dict[str, int]:
        counts = np.bincount(self.label_index, minlength=len(self.labels))
        return {label: int(n) for label, n in zip(self.labels, counts, strict=True)}


def inspect(dataset: Dataset, results: list[Embedded | ImageError], min_images: int = MIN_IMAGES) -> Inspected:
    """Leaves out what cannot be used, names each file and the reason, and groups near-duplicates."""
    inspector = _Inspector(dataset, results)
    inspector.leave_out_unreadable()
    inspector.leave_out_duplicates()
    inspector.leave_out_small_labels(min_images)
    return inspector.finish()


def require_labels(inspected: Inspected) -> None:
    """`DataError` where fewer than two labels are left."""
    if len(inspected.labels) < 2:
        left = ", ".join(f"{k} ({v})" for k, v in inspected.per_label.items()) or "none"
        raise DataError(
            f"At least two labels with {MIN_IMAGES} usable images each are needed; labels left: {left};"
            f" {len(inspected.problems)} problems were found, `handful check` lists them."
        )


class _Inspector:
    def __init__(self, dataset: Dataset, results: list[Embedded | ImageError]) -> None:
        self.dataset = dataset
        self.problems = list(dataset.problems)
        self.results = results
        self.kept: list[tuple[Embedded, int]] = []

    def add(self, image: Embedded, kind: str, detail: str) -> None:
        self.problems.append(Problem(self.name(image), kind, detail))

    def name(self, image: Embedded) -> str:
        return relative_name(image.path, self.dataset.root)

    def leave_out_unreadable(self) -> None:
        for example, result in zip(self.dataset.examples, self.results, strict=True):
            if isinstance(result, ImageError):
                name = relative_name(example.path, self.dataset.root)
                self.problems.append(Problem(name, result.code, f"{result} Replace or delete it."))
            else:
                self.kept.append((result, example.label))

    def leave_out_duplicates(self) -> None:
        """Of one picture under one label the first stays; under two labels none does."""
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
                continue
            self.kept.append(copies[0])
            for image, _ in copies[1:]:
                self.add(image, "duplicate", f"It is the same picture as {first}; delete one of them.")

    def leave_out_small_labels(self, min_images: int) -> None:
        counts = Counter(label for _, label in self.kept)
        present = {label for label in range(len(self.dataset.labels)) if counts[label]}
        for label, name in enumerate(self.dataset.labels):
            usable = counts[label]
            if usable < min_images and not self._empty(name):
                kind = "one_image" if usable == 1 else "too_few_images"
                detail = f"It has {usable} usable images, {min_images} are needed; add some. It is left out."
                self.problems.append(Problem(name, kind, detail))
                present.discard(label)
        self.kept = [(image, label) for image, label in self.kept if label in present]
        self._report_imbalance({self.dataset.labels[label]: counts[label] for label in present})

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
        order = sorted({label for _, label in self.kept})
        index = np.array([order.index(label) for _, label in self.kept], dtype=np.int64)
        images = tuple(image for image, _ in self.kept)
        groups = np.arange(len(images))
        if images:
            groups = self._group(images, index)
        labels = tuple(self.dataset.labels[label] for label in order)
        return Inspected(labels, images, index, groups, tuple(self.problems), len(self.results))

    def _group(self, images: tuple[Embedded, ...], index: np.ndarray) -> np.ndarray:
        pairs = near_duplicates(np.stack([image.embedding for image in images]), index)
        for first, second, likeness in pairs:
            kind = "near_duplicate" if index[first] == index[second] else "near_duplicate_two_labels"
            advice = "they are kept in one fold" if kind == "near_duplicate" else "check which label is right"
            self.add(
                images[second], kind, f"It looks like {self.name(images[first])} (likeness {likeness:.2f}); {advice}."
            )
        return connected([(first, second) for first, second, _ in pairs], len(images))


def near_duplicates(embeddings: np.ndarray, labels: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs (i < j, likeness) of rows of `(N, D)` far more alike than neighbours are; one pair a later row.

    Likeness is 1 for the same embedding and 0 on average for two photos of one label. How alike
    different photos look depends on the backbone and the folder, so the line is an outlier's among
    the nearest neighbours, kept between two fixed ones.
    """
    likeness = _likeness(embeddings.astype(np.float64), labels)
    threshold = _outlier(likeness.max(axis=1))
    pairs = []
    for row in range(1, len(likeness)):
        best = int(likeness[row, :row].argmax())
        if likeness[row, best] >= threshold:
            pairs.append((best, row, float(likeness[row, best])))
    return pairs


def _likeness(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, N): 1 - d^2 / 2v, with d the distance and v the spread around the labels' means; -1 on the diagonal."""
    numbers, index = np.unique(labels, return_inverse=True)
    means = np.stack([embeddings[index == n].mean(0) for n in range(len(numbers))])
    degrees = max(1, len(embeddings) - len(numbers))
    spread = ((embeddings - means[index]) ** 2).sum() / degrees
    squares = (embeddings**2).sum(1)
    distance = squares[:, None] + squares - 2 * embeddings @ embeddings.T
    likeness = 1 - distance / max(2 * spread, 1e-12)
    np.fill_diagonal(likeness, -1)
    return np.asarray(likeness)


def _outlier(nearest: np.ndarray) -> float:
    """Median + 3.5 deviations of the nearest likeness (N,), on Fisher's scale, where they are roughly normal."""
    z = np.arctanh(np.clip(nearest, -0.999, 0.999))
    deviation = 1.4826 * np.median(np.abs(z - np.median(z)))
    return float(np.clip(np.tanh(np.median(z) + 3.5 * deviation), *NEAR_DUPLICATE))


def connected(pairs: list[tuple[int, int]], count: int) -> np.ndarray:
    """A number for each of `count` rows, the same for all that pairs join."""
    group = np.arange(count)
    for first, second in pairs:
        group[group == group[second]] = group[first]
    return group
