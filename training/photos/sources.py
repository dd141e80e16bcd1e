"""A source of labelled photos -> the data set to learn from, the parts to measure on, and what was left out.

What a source may be, and how each is read: `service/artifact/sources/`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from handful.service.artifact.label_names import is_other, similar_labels
from handful.service.artifact.sources.columns import ColumnNames
from handful.service.artifact.sources.listing import PhotoPart
from handful.service.artifact.sources.reader import read_source

USED = {
    "near_duplicate",
    "near_duplicate_two_labels",
    "imbalance",
    "similar",
    "one_label",
    "label_not_utf8",
    "few_other",
}  # problems of photos that are used all the same
ROWS = {"row_without_label", "row_without_path", "row_points_nowhere", "several_labels"}  # of a table, left out
MOST_NAMED = 10  # labels in a sentence


@dataclass(frozen=True)
class Example:
    """One file and the number of its label."""

    path: Path
    label: int


@dataclass(frozen=True)
class Problem:
    """One problem of a source: what is wrong, and what to do about it."""

    path: str  # relative to the source; a label's name where the whole label is meant
    kind: str
    detail: str

    @property
    def leaves_out(self) -> bool:
        """Whether nothing is learned from what is named."""
        return self.kind not in USED


@dataclass(frozen=True)
class Dataset:
    """The labelled files of a source, or of one part of it, before any file is opened."""

    root: Path  # names of photos are relative to it
    labels: tuple[str, ...]
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    held_out: tuple[Dataset, ...] = ()  # parts to measure on, where the source is divided: val before test
    name: str = ""  # of the part; empty where the source is not divided
    read_as: str = ""  # what the source was taken for, in one line

    @property
    def rows_left_out(self) -> int:
        """Rows of a table that name no file with one label."""
        return sum(problem.kind in ROWS for problem in self.problems)

    @property
    def first_words(self) -> list[str]:
        """What a person should know before anything is learned: what it was read as, and what does not fit together."""
        return [self.read_as, *(f"{p.path}: {p.detail}" for p in self.problems if p.kind in {"not_learned", "similar"})]


def read_folder(source: Path, columns: ColumnNames | None = None, known_labels: Collection[str] = ()) -> Dataset:
    """Lists the labelled files of a source, which need not be a folder.

    Labels that look like one of `known_labels`, those of a model, are named. `UsageError` where there is no source,
    `DataError` where it has no labels.
    """
    found = read_source(source, columns, known_labels)
    train = _dataset(found.train)
    held_out = tuple(map(_dataset, found.held_out))
    problems = [*train.problems, *_similar(train, held_out, known_labels), *_not_learned(train, held_out)]
    return replace(train, problems=tuple(problems), held_out=held_out, read_as=found.read_as)


def wanted_labels(dataset: Dataset, known_labels: Collection[str] = ()) -> int:
    """How many labels a model of these photos should have; photos of no label count for none."""
    return len({*known_labels, *(label for label in dataset.labels if not is_other(label, known_labels))})


def _dataset(part: PhotoPart) -> Dataset:
    number = {label: index for index, label in enumerate(part.labels)}
    return Dataset(
        part.root,
        part.labels,
        tuple(Example(photo.path, number[photo.label]) for photo in part.photos),
        tuple(Problem(*problem) for problem in part.problems),
        name=part.name,
    )


def _similar(train: Dataset, held_out: Collection[Dataset], known_labels: Collection[str]) -> list[Problem]:
    """Labels that are probably meant to be one."""
    labels = dict.fromkeys([*train.labels, *(label for part in held_out for label in part.labels)])
    pairs = [(first, second, how, "") for first, second, how in similar_labels(labels)]
    new = [label for label in labels if label not in known_labels]
    pairs += [(*pair, " of the model") for pair in similar_labels(new, known_labels)] if known_labels else []
    return [
        Problem(
            first,
            "similar",
            f"It differs from the label {second!r}{whose} only in {how}; if both mean the same, give them one name.",
        )
        for first, second, how, whose in pairs
    ]


def _not_learned(train: Dataset, held_out: Collection[Dataset]) -> list[Problem]:
    """Labels that are only in a part to measure on."""
    problems = []
    for part in held_out:
        foreign = [label for label in part.labels if label not in train.labels]
        if foreign:
            named = ", ".join(foreign[:MOST_NAMED]) + (", …" if len(foreign) > MOST_NAMED else "")
            one = len(foreign) == 1
            which, them = (f"The label {named} is", "it") if one else (f"The labels {named} are", "them")
            known = ", ".join(train.labels[:MOST_NAMED])
            detail = f"{which} not in {train.name or 'train'}/, so nothing of {them} is learned; known is {known}."
            problems.append(Problem(part.name, "not_learned", detail))
    return problems
