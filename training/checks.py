"""What can be known to be wrong before torch is loaded, so that a slip of the hand is answered at once.

The commands call these checks first. Code that others call too, such as `read_folder`, calls them again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from handful.service.artifact.errors import BackboneNotFound, UsageError
from handful.service.artifact.remote import url_of
from handful.service.artifact.store import Store
from handful.training.settings import RetrainSettings

BUILTIN = "builtin"
BUILTIN_RESNET = "builtin-resnet"
BUILTINS = (BUILTIN, BUILTIN_RESNET)
AUTO = "auto"  # the best of those that come with handful, and of those named after a colon
CONFIG = "config.json"
SOURCES = "a folder with one sub-folder of photos per label, a zip of one, or a table of paths and labels"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first that exists


def check_labelled_folder(source: Path) -> None:
    """Raises `UsageError` for a path that is not there; what is there is checked when it is read."""
    if not (source.as_posix().startswith("hf:/") or url_of(source) or source.exists()):
        raise UsageError(f"{source} is not there; {SOURCES} is expected.")


def source_text(source: Path) -> str:
    """As a person writes it: `Path` makes one slash of two."""
    if url := url_of(source):
        return url
    return re.sub("^hf:/+", "hf://", source.as_posix()) if source.as_posix().startswith("hf:/") else str(source)


def check_other(folders: Sequence[Path]) -> None:
    """Raises `UsageError` where `--other` names no folder."""
    for folder in folders:
        if not folder.is_dir():
            kind = "a file" if folder.is_file() else "not there"
            raise UsageError(f"--other names {folder}, which is {kind}; a folder of photos of no label is expected.")


def backbones_to_try(ref: str) -> tuple[str, ...]:
    """Of `auto` and `auto:REF,REF`: both that come with handful, then those named; nothing of any other reference."""
    name, colon, others = ref.partition(":")
    if name != AUTO:
        return ()
    return tuple(dict.fromkeys([*BUILTINS, *(each.strip() for each in others.split(",") if colon)]))


def trying(ref: str) -> str:
    """The stage in which a network is tried, as the bar shows it."""
    return f"trying {ref}"


def check_backbones(ref: str) -> None:
    """As `check_backbone`, also of each network that `auto:` names."""
    tried = backbones_to_try(ref)
    if AUTO in tried or "" in tried:
        raise UsageError(
            f"The backbone is {ref!r}; after {AUTO}: further networks are expected, with commas between them, each"
            " ORG/NAME[@REVISION] or a local folder."
        )
    for each in tried or [ref]:
        check_backbone(each)


def check_backbone(ref: str) -> None:
    """Raises `UsageError` for what is no reference, `BackboneNotFound` for a folder that lacks a network."""
    if is_local(ref):
        local_files(ref, Path(ref))
    elif ref not in BUILTINS:
        from handful.service.artifact.hub import parse_ref  # takes a quarter of a second

        if parse_ref(ref) is None:
            raise not_a_backbone(ref)


def is_local(ref: str) -> bool:
    """Whether a reference names a folder of this machine."""
    if ref.startswith((".", "/", "~")) or "\\" in ref or ref[1:2] == ":":
        return True
    return ref not in {"", AUTO, *BUILTINS} and Path(ref).is_dir()


def not_a_backbone(ref: str) -> UsageError:
    allowed = f"ORG/NAME[@REVISION], a local folder, {BUILTIN} or {BUILTIN_RESNET}"
    return UsageError(f"The backbone is {ref!r}, allowed: {allowed}.")


def local_files(ref: str, folder: Path) -> tuple[Path, Path]:
    """The configuration and the weights in a backbone's folder; `BackboneNotFound` where it lacks them."""
    with suppress(RuntimeError):  # the home of an unknown user: a folder that does not exist
        folder = folder.expanduser()
    if not folder.is_dir():
        raise BackboneNotFound(f"The backbone {ref!r} is not an existing folder ({folder}).")
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not (folder / CONFIG).is_file():
        raise BackboneNotFound(f"The folder {folder} lacks {CONFIG} or the weights, {' or '.join(WEIGHTS)}.")
    return folder / CONFIG, weights


def check_retrain(folder: Path | None, settings: RetrainSettings) -> Path:
    """The champion's folder; raises `UsageError` for settings that contradict each other, and for what is not there."""
    if settings.finetune and not settings.old:
        raise UsageError(
            "--finetune learns from the old photos again, which are not kept: name their folders by --with OLD_FOLDER,"
            " once for each folder that was learned."
        )
    if settings.old and not settings.finetune:
        raise UsageError("--with names folders of old photos, which only --finetune needs; leave it out, or add that.")
    if folder is None and not (settings.changes_labels or settings.finetune or settings.other):
        raise UsageError("got neither a folder of new photos nor --other, --drop or --rename; one of them is needed.")
    check_other(settings.other)
    for each in [*settings.old, *([] if folder is None else [folder])]:
        check_labelled_folder(each)
    store = Store()
    path = store.resolve(settings.model)
    champion = store.served(path.parent.name)
    if path.name != champion:
        raise UsageError(
            f"{settings.model} is not the version in use, which is {path.parent.name}:{champion}; only that one can"
            f" learn more. `handful models promote {settings.model}` changes which one it is."
        )
    return path


def check_report(folder: Path, models: Path) -> None:
    """Raises `UsageError` where a report may not be written: into a file, or among the models."""
    if folder.resolve().is_relative_to(models.resolve()):
        raise UsageError(f"The report's folder, {folder}, is among the models, which never change; name another one.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; a folder for the report is expected.")
