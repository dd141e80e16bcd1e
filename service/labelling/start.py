"""What `handful label` does before it serves: checks its folders, makes the model's library, and tells the service."""

from __future__ import annotations

import os
from pathlib import Path

from handful.service.artifact.errors import UsageError
from handful.service.artifact.names import name_from_folder
from handful.service.labelling.folder import LabelledFolder
from handful.service.models.catalogue import Catalogue
from handful.service.models.changes import ModelChanges
from handful.service.settings import variable


def prepare_labelling(source: Path, model: str | None, out: Path, *, copy: bool) -> str:
    """The model's name; the service that this process starts labels SOURCE for it.

    Raises `UsageError`, or `NameWrong` or `ModelExists` for a name that no new model may have.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder; a folder of photos is expected.")
    LabelledFolder(out).check(source)
    name, catalogue = model or name_from_folder(source), Catalogue()
    if name not in catalogue.names():
        name = ModelChanges(catalogue).create(name)
    settings = {
        "label_source": source.absolute(),
        "label_model": name,
        "label_out": out.absolute(),
        "label_copy": int(copy),
    }
    os.environ |= {variable(field): str(value) for field, value in settings.items()}
    return name
