"""One artifact's folder: written file by file, read back strictly.

config.json              timm / Hub format
model.safetensors        backbone and head
card.json                `ModelCard`
embeddings.safetensors   training embeddings (N, D), label indices, content hashes; arrays of the unknown detector
thumbnails.safetensors   a small JPEG and the relative name of each training photo; not there where nothing is kept
model.onnx               the whole answer without torch; only where `handful export --to artifact` has added it
README.md                the Hub model card
report/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.service.artifact.atomic import PRIVATE_FILE
from handful.service.artifact.card import ModelCard, json_object, parse_card
from handful.service.artifact.checks import (
    MAX_TENSOR_BYTES,
    MAX_TEXT_BYTES,
    check_config,
    check_embeddings,
    check_size,
)
from handful.service.artifact.errors import ArtifactIncomplete, ArtifactInconsistent
from handful.service.artifact.model_card import render_model_card
from safetensors import SafetensorError

if TYPE_CHECKING:
    from handful.service.artifact.thumbnails import Thumbnail
    from torch import Tensor

CARD, CONFIG, WEIGHTS, EMBEDDINGS, THUMBNAILS, MODEL_CARD = (
    "card.json",
    "config.json",
    "model.safetensors",
    "embeddings.safetensors",
    "thumbnails.safetensors",
    "README.md",
)
ONNX = "model.onnx"
PERSONAL = (EMBEDDINGS, THUMBNAILS, "report")  # what tells of single photos


@dataclass(frozen=True)
class Artifact:
    """A verified folder: every file exists, every hash is right, the labels are the same everywhere."""

    path: Path
    card: ModelCard
    config: dict[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """Backbone and head, as `network.build_network` takes them."""
        return _tensors(self.path / WEIGHTS)

    def embeddings(self) -> dict[str, Tensor]:
        """The arrays of the unknown detector, `unknown.*`, and those that a retrain needs, if the card says so:

        `embeddings` (N, D), `labels` (N,), `hashes` and `pictures` (N, 32) uint8, `folds` (N, R) uint8; of a fine-tuned
        network also `answers` (N, L), the probabilities from networks that had not seen the photo. Where there are
        photos of no label, `other.embeddings` (M, D), `other.hashes` and `other.pictures` (M, 32) are theirs.
        """
        return _tensors(self.path / EMBEDDINGS)

    def thumbnails(self) -> list[Thumbnail]:
        """In the order of the embeddings; empty where the artifact has none."""
        from handful.service.artifact.thumbnails import unpacked_thumbnails  # imports numpy, as `_save` does torch

        if THUMBNAILS not in self.card.files:
            return []
        try:
            return unpacked_thumbnails(
                {name: tensor.numpy() for name, tensor in _tensors(self.path / THUMBNAILS).items()}
            )
        except (LookupError, TypeError, ValueError) as e:
            raise ArtifactInconsistent(f"{self.path / THUMBNAILS} does not hold thumbnails: {e}.") from e


def tensor_files(card: ModelCard) -> tuple[str, ...]:
    """The files that the card has a hash of, without a stranger's inventions."""
    return (WEIGHTS, EMBEDDINGS, *([THUMBNAILS] if THUMBNAILS in card.files else []))


def has_onnx(path: Path, card: ModelCard) -> bool:
    """Whether the version can answer without torch. The file is optional: a card may have its hash without it."""
    return ONNX in card.files and (path / ONNX).is_file()


def without_onnx(card: ModelCard) -> ModelCard:
    """For a copy of the version that lacks the file: anybody can add it again, checked against the model."""
    return card.model_copy(update={"files": {name: each for name, each in card.files.items() if name != ONNX}})


def open_artifact(path: Path) -> Artifact:
    """Reads and verifies the folder. Raises an `ArtifactError` that names what is wrong."""
    card = read_card(path)
    for file in (*tensor_files(card), *([ONNX] if has_onnx(path, card) else [])):
        check_hash(path, file, card)
    try:
        config = json_object(_text(path / CONFIG))
    except ValueError as e:
        raise ArtifactInconsistent(f"{path / CONFIG} is not a JSON object ({e}).") from e
    try:
        check_config(config)
    except ValueError as e:
        raise ArtifactInconsistent(f"{path / CONFIG}: {e}.") from e
    if config.get("label_names") != list(card.labels):
        raise ArtifactInconsistent(f"{path}: label_names in {CONFIG} are not the labels of {CARD}.")
    check_embeddings(path / EMBEDDINGS, card)
    return Artifact(path, card, config)


def check_hash(path: Path, file: str, card: ModelCard) -> None:
    """Raises `ArtifactInconsistent` for a file of the folder that is not the one the card was written for."""
    check_size(path / file, MAX_TENSOR_BYTES)
    announced, got = card.files.get(file), _readable_sha256(path / file)
    if announced != got:
        raise ArtifactInconsistent(f"{path / file} has sha256 {got[:12]}…, the card says {str(announced)[:12]}….")


def read_card(path: Path) -> ModelCard:
    """The card of a folder that has all its files. Unlike `open_artifact` it does not read the tensors."""
    _raise_unless_there(path, (CARD, CONFIG, WEIGHTS, EMBEDDINGS))
    card = parse_card(_text(path / CARD), path / CARD)
    _raise_unless_there(path, tensor_files(card))
    return card


def _raise_unless_there(path: Path, files: Iterable[str]) -> None:
    for file in files:
        if not (path / file).is_file():
            raise ArtifactIncomplete(f"{path} has no {file}; a whole artifact is expected.")


def write_artifact(
    path: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    embeddings: Mapping[str, Tensor],
    card: Callable[[dict[str, str]], ModelCard],
    thumbnails: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes all files except the report. `card` is called with the sha256 of each file of tensors. Raises OSError."""
    files = {WEIGHTS: weights, EMBEDDINGS: embeddings, **({} if thumbnails is None else {THUMBNAILS: thumbnails})}
    for file, tensors in files.items():
        _save(path / file, tensors)
    written = card({file: file_sha256(path / file) for file in files})
    (path / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_card(path, written)


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file  # imports torch, which a process that only reads cards does not need

    try:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, path)
    except SafetensorError as e:  # for example on a full disk
        raise OSError(f"{path.name} cannot be written ({e})") from e
    path.chmod(PRIVATE_FILE if path.name in PERSONAL else 0o644)


def write_card(path: Path, card: ModelCard) -> None:
    """Writes card.json and the Hub's model card."""
    (path / CARD).write_text(card_json(card), encoding="utf-8")
    (path / MODEL_CARD).write_text(render_model_card(card), encoding="utf-8")


def card_json(card: ModelCard) -> str:
    return card.model_dump_json(indent=2) + "\n"


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _readable_sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except PermissionError as e:
        raise ArtifactIncomplete(
            f"{path} may not be read by this user: only the one who trained the model may read what tells of its"
            " photos; run as that user (`docker run --user`), or give it the file."
        ) from e


def _text(path: Path) -> str:
    check_size(path, MAX_TEXT_BYTES)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise ArtifactInconsistent(f"{path} is not UTF-8 text ({e.reason}).") from e


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as e:
        raise ArtifactInconsistent(f"{path} cannot be read: {e}.") from e
