"""A version in the store that also answers without torch: `model.onnx` is added to its folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.service.artifact.atomic import locked, move_into_place, partial_folder, replace_text
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import CARD, ONNX, card_json, file_sha256, open_artifact, read_card, without_onnx
from handful.service.artifact.preprocessing import Source
from handful.service.artifact.store import LOCK
from handful.service.export.onnx_export import check_packages, export_onnx

if TYPE_CHECKING:
    from handful.service.export.precision import Precision


def export_into_artifact(
    path: Path, precision: Precision = "fp32", photos: Iterable[tuple[str, Source]] | None = None
) -> dict[str, Any]:
    """Adds the file to the version's folder and its hash to the card; nothing else of the version changes.

    A reader sees the version without the file, or with it. Raises as `export_onnx` does, and `UsageError` for a store
    that may not be written.
    """
    check_packages()
    name_folder = path.parent
    try:
        with partial_folder(name_folder) as partial:
            file = partial / ONNX
            result = export_onnx(open_artifact(path), file, precision, photos)
            with locked(name_folder / LOCK):
                add_onnx(file, path)
    except PermissionError as e:
        raise UsageError(f"{path} may not be written by this user, so {ONNX} cannot be added.") from e
    return {**result, "out": str(path / ONNX)}


def add_onnx(file: Path, path: Path) -> None:
    """Moves the file into the version. Only for the holder of the lock.

    At no moment does the card have the hash of another file than the one beside it.
    """
    card, sha256 = without_onnx(read_card(path)), file_sha256(file)
    if (path / ONNX).exists():
        replace_text(path / CARD, card_json(card))
    file.chmod(0o644)
    move_into_place(file, path / ONNX)
    replace_text(path / CARD, card_json(card.model_copy(update={"files": card.files | {ONNX: sha256}})))
