"""Names of models: which are allowed, and the one that a source of photos gives."""

from __future__ import annotations

import re
from pathlib import Path

from handful.service.artifact.errors import UsageError
from handful.service.artifact.label_names import MAX_NAME_BYTES, normal_label

_GENERAL = frozenset({"metadata", "classes", "labels", "annotations", "train", "data", "export", "result", "index"})
_NAME = re.compile(r"[^\W_][\w .+-]{0,99}")


def check_name(name: str) -> str:
    """Returns the name if it can be a folder's name on every platform, else raises `UsageError`."""
    if not is_name(name):
        raise UsageError(
            f"{name!r} cannot be a model's name; 1 to 100 letters, digits, spaces and . _ + - are allowed,"
            " the first a letter or a digit."
        )
    return name


def is_name(name: str) -> bool:
    """Whether it can be a folder's name on every platform, apart from its length in bytes."""
    return _NAME.fullmatch(name) is not None and not name.endswith((" ", "."))


def can_be_name(name: str) -> bool:
    """Whether a folder of a model may have this name; for a text from outside, which may have any length."""
    return len(name) <= 100 and is_name(name) and len(name.encode()) <= MAX_NAME_BYTES


def name_from_folder(folder: Path) -> str:
    """A model's name for a source of photos: its own without its ending and characters that are not allowed.

    A table that is called as most are has the name of its folder, a dataset of the Hub that of its repository.
    """
    name = folder.resolve().name
    if folder.as_posix().startswith("hf:/"):
        name = next(iter(folder.parts[3:4]), "model").partition("@")[0]
    elif folder.is_file():
        general = folder.stem.lower().strip("_") in _GENERAL
        name = folder.resolve().parent.name if general else folder.resolve().stem
    kept = re.sub(r"[^\w .+-]+", "-", normal_label(name))
    kept = re.sub(r"^[\W_]+", "", kept)[:100].rstrip(" .")
    return kept or "model"
