"""The keywords of `train` and `Model.retrain`: those of the commands' settings, whose defaults and checks hold here.

A test compares the names with the fields of `TrainSettings` and `RetrainSettings`, which say what each of them means.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar

from pydantic import BaseModel, ValidationError

from handful.service.artifact.errors import UsageError

S = TypeVar("S", bound=BaseModel)


class FineTuneOptions(TypedDict, total=False):
    """Those of `FineTuneSettings` that are flags of the command, too; all of its fields may be given."""

    layer: str
    epochs: int


class TrainOptions(TypedDict, total=False):
    """As the flags of `handful train`; `finetune=True` or its own options."""

    name: str
    backbone: str | os.PathLike[str]
    other: Sequence[str | os.PathLike[str]]
    path_column: str
    label_column: str
    head: Literal["auto", "linear", "hidden"]
    finetune: bool | FineTuneOptions
    int8: bool
    seed: int
    keep_embeddings: bool


class RetrainOptions(TypedDict, total=False):
    """As the flags of `handful retrain`; `old` is its --with."""

    other: Sequence[str | os.PathLike[str]]
    path_column: str
    label_column: str
    drop: Sequence[str]
    rename: Mapping[str, str]
    promote: Literal["auto", "always", "never"]
    head: Literal["same", "auto", "linear", "hidden"]
    finetune: bool | FineTuneOptions
    old: Sequence[str | os.PathLike[str]]


def checked(settings: type[S], options: Mapping[str, Any]) -> S:
    """Raises `UsageError` for an option that there is not, or a value that is not allowed."""
    given = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in options.items()}
    if isinstance(given.get("finetune"), bool):
        given["finetune"] = {} if given["finetune"] else None
    if unknown := [name for name in given if name not in settings.model_fields]:
        raise UsageError(f"There is no option {unknown[0]!r}; {', '.join(settings.model_fields)} are allowed.")
    try:
        return settings.model_validate(given)
    except ValidationError as e:
        first = e.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))} is {first['input']!r}: {first['msg']}.") from e
