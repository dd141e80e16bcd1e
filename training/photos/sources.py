"""A labelled folder -> its files with their labels, and what was left out with the reason.

Sub-folders are the labels, in the order of their names. A folder that holds `train/` beside `val/`, `valid/`,
`validation/` or `test/` is split into those parts: `train/` to learn from, the others to measure on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handful.service.artifact.errors import DataError
from handful.service.artifact.image_files import entries, relative_name, walk
from handful.service.artifact.label_names import labels_error
from handful.training.checks import check_labelled_folder

HELD_OUT = ("val", "valid", "validation", "test")
# problems of photos that are used all the same
USED = {"near_duplicate", "near_duplicate_two_labels", "imbalance", "few_other"}


@dataclass(frozen=True)
class Example:
    """One file and the number of its label."""

    path: Path
    label: int


@dataclass(frozen=True)
class Problem:
    """One problem of a folder: what is wrong, and what to do about it."""

    path: str  # relative to the folder; a label's name where the whole label is meant
    kind: str
    detail: str

    @property
    def leaves_out(self) -> bool:
        """Whether nothing is learned from what is named."""
        return self.kind not in USED


@dataclass(frozen=True)
class Dataset:
    """The contents of a folder, before any file is opened."""

    root: Path  # the folder whose sub-folders are the labels
    labels: tuple[str, ...]
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]
    held_out: tuple[Path, ...]  # parts to measure on, where the folder is split


def read_folder(folder: Path) -> Dataset:
    """Lists the labelled files; raises `UsageError` where there is no folder, `DataError` where it has no labels."""
    check_labelled_folder(folder)
    parts = {path.name.lower(): path for path in _listed(folder) if path.is_dir()}
    held_out = tuple(parts[name] for name in HELD_OUT if name in parts)
    if "train" in parts and held_out and len(parts) == len(held_out) + 1:
        return _read(parts["train"], held_out)
    return _read(folder, ())


def _read(root: Path, held_out: tuple[Path, ...]) -> Dataset:
    listed = _listed(root)
    folders = [path for path in listed if path.is_dir()]
    if not folders:
        raise DataError(f"{root} has no sub-folders; one sub-folder of images per label is expected.")
    if error := labels_error([path.name for path in folders]):
        raise DataError(f"{root}: {error}; rename the folder.")
    problems = [_stray(root, path) for path in listed if not path.is_dir()]
    examples: list[Example] = []
    for label, path in enumerate(folders):
        files = [Example(file, label) for file in walk(path)]
        examples += files
        if not files:
            problems.append(Problem(path.name, "empty_label", "It holds no images; add some or delete the folder."))
    return Dataset(root, tuple(path.name for path in folders), tuple(examples), tuple(problems), held_out)


def _listed(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in entries(folder)]
    except OSError as e:
        raise DataError(f"{folder} cannot be listed: {e.strerror}.") from e


def _stray(root: Path, path: Path) -> Problem:
    return Problem(relative_name(path, root), "no_label", "It lies beside the labels; move it into one of them.")
