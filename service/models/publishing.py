"""A version in the store -> a repository on the Hub, and back.

Parts of an artifact are personal. The report shows thumbnails of the photos, and embeddings.safetensors holds an
embedding and a content hash per photo: an embedding reveals something of its photo, and a hash reveals whether a known
photo was used; thumbnails.safetensors holds a small picture and the file name of each. Therefore the report is pushed
only on request. Embeddings are pushed to a private repository, as a retrain needs them, and to a public one only on
request; thumbnails go with that request, and never without it. The arrays of the unknown detector, one mean per label,
are always pushed: without them no image is unknown.

Only data is pulled: JSON, and tensors without pickle. A report is not: it is a page with scripts from a stranger.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from handful.service.artifact.card import ModelCard, OriginCard, parse_card
from handful.service.artifact.checks import MAX_TENSOR_BYTES, MAX_TEXT_BYTES
from handful.service.artifact.errors import ArtifactIncomplete, HubFileMissing, UsageError
from handful.service.artifact.folder import (
    CARD,
    CONFIG,
    EMBEDDINGS,
    MODEL_CARD,
    ONNX,
    THUMBNAILS,
    WEIGHTS,
    Artifact,
    card_json,
    has_onnx,
    open_artifact,
    tensor_files,
    without_onnx,
    write_card,
)
from handful.service.artifact.hub import HubRef, large_file, parse_ref, pinned_file, writing
from handful.service.artifact.model_card import render_model_card
from handful.service.artifact.names import check_name
from handful.service.artifact.store import Store
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

REPORT = "report/"
UNKNOWN = "unknown."  # prefix of the names of the unknown detector's arrays


@dataclass(frozen=True)
class PushSettings:
    """The parts of a version to push. `embeddings` None: to a private repository only, and without thumbnails."""

    private: bool = False
    embeddings: bool | None = None
    report: bool = False
    licence: str | None = None


@dataclass(frozen=True)
class Pushed:
    """The result of a push."""

    model: str
    repo: str
    url: str
    commit: str
    private: bool
    embeddings: bool
    thumbnails: bool
    report: bool


def push_version(folder: Path, repo: str, settings: PushSettings) -> Pushed:
    """Pushes the whole version in one commit; creates a missing repository.

    Raises `UsageError`, an `ArtifactError` or a `HubError`; the repository then never holds part of a version.
    """
    ref, artifact = _repository(repo), open_artifact(folder)
    if settings.embeddings and not artifact.card.data.embeddings_kept:
        raise UsageError(f"{artifact.card.model} has no embeddings; push it without --embeddings.")
    if settings.report and not (folder / REPORT).is_dir():
        raise UsageError(f"{artifact.card.model} has no report; push it without --with-report.")
    api = HfApi()
    with writing(ref):
        api.create_repo(repo, private=settings.private or None, exist_ok=True)
        existing = api.model_info(repo)
    if settings.private and not existing.private:
        raise UsageError(f"{repo} already exists and is public; make it private in its settings on the Hub first.")
    embeddings = bool(existing.private) if settings.embeddings is None else settings.embeddings
    files = _files(artifact, ref, settings, embeddings=embeddings)
    existing_names = [file.rfilename for file in existing.siblings or ()]
    with writing(ref):
        commit = api.create_commit(repo, _operations(files, existing_names), commit_message=artifact.card.model)
    url = f"{api.endpoint}/{repo}"
    embeddings = embeddings and artifact.card.data.embeddings_kept
    return Pushed(
        model=artifact.card.model,
        repo=repo,
        url=url,
        commit=commit.oid,
        private=bool(existing.private),
        embeddings=embeddings,
        thumbnails=THUMBNAILS in files,
        report=settings.report,
    )


def _repository(repo: str) -> HubRef:
    ref = parse_ref(repo)
    if ref is None or ref.text != ref.repo:
        raise UsageError(f"The repository is {repo!r}; ORG/NAME is expected, with letters, digits and . _ - in both.")
    return ref


def _files(artifact: Artifact, ref: HubRef, settings: PushSettings, *, embeddings: bool) -> dict[str, Path | bytes]:
    """The repository's files by name; the hashes in the card match them."""
    files, card = shared_files(artifact, embeddings=embeddings, thumbnails=bool(settings.embeddings), onnx=False)
    files[MODEL_CARD] = render_model_card(card, ref.repo, settings.licence).encode()
    if settings.report:
        report = sorted(file for file in (artifact.path / REPORT).rglob("*") if file.is_file())
        files |= {file.relative_to(artifact.path).as_posix(): file for file in report}
    return files


def shared_files(
    artifact: Artifact, *, embeddings: bool, thumbnails: bool, onnx: bool
) -> tuple[dict[str, Path | bytes], ModelCard]:
    """What leaves this machine, by name, and the card that is among it, whose hashes match the others."""
    path, card = artifact.path, _without_path(artifact.card)
    onnx = onnx and has_onnx(path, card)
    if not onnx:
        card = without_onnx(card)
    if not thumbnails:
        hashes = {name: sha256 for name, sha256 in card.files.items() if name != THUMBNAILS}
        card = card.model_copy(update={"files": hashes})
    names = (CONFIG, *tensor_files(card), *([ONNX] if onnx else []))
    files: dict[str, Path | bytes] = {name: path / name for name in names}
    if not embeddings:
        files[EMBEDDINGS] = content = _unknown_only(artifact)
        hashes = card.files | {EMBEDDINGS: hashlib.sha256(content).hexdigest()}
        data = card.data.model_copy(update={"embeddings_kept": False})
        card = card.model_copy(update={"files": hashes, "data": data})
    files[CARD] = card_json(card).encode()
    return files, card


def _operations(
    files: Mapping[str, Path | bytes], existing_names: Iterable[str]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Adds the files, and deletes an earlier push's report and thumbnails as far as they are not replaced."""
    stale = {name for name in existing_names if name.startswith(REPORT) or name == THUMBNAILS} - set(files)
    return [
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()),
        *(CommitOperationDelete(path_in_repo=name) for name in sorted(stale)),
    ]


def _unknown_only(artifact: Artifact) -> bytes:
    from safetensors.torch import save

    return save({name: tensor for name, tensor in artifact.embeddings().items() if name.startswith(UNKNOWN)})


def _without_path(card: ModelCard) -> ModelCard:
    """Names a backbone from a local folder by the folder's name: its path would tell strangers about this machine."""
    if card.backbone.revision is not None:
        return card
    backbone = card.backbone.model_copy(update={"ref": PurePath(card.backbone.ref.replace("\\", "/")).name})
    return card.model_copy(update={"backbone": backbone})


def pull_version(text: str, store: Store, name: str | None = None, *, promote: bool = False) -> Path:
    """`ORG/NAME[@REVISION]` -> the folder of a new version, under the name in its card if `name` is None.

    It is published once it has been verified and loaded. Raises `UsageError`, a `HubError` or an `ArtifactError`.
    """
    artifact = download_version(text)
    new_name = check_name(name or artifact.card.name)
    origin = OriginCard(repo=text.partition("@")[0], revision=artifact.path.name, model=artifact.card.model)

    def write(folder: Path, version: str) -> None:
        for file in (CONFIG, *tensor_files(artifact.card)):
            shutil.copyfile(artifact.path / file, folder / file)
        card = without_onnx(artifact.card)
        write_card(folder, card.model_copy(update={"name": new_name, "version": version, "origin": origin}))

    path = store.publish(new_name, write)
    if promote:
        store.promote(new_name, path.name)
    return path


def download_version(text: str) -> Artifact:
    """`ORG/NAME[@REVISION]` -> its files in huggingface_hub's cache, verified and loaded once.

    Raises `UsageError`, a `HubError` or an `ArtifactError`.
    """
    ref = parse_ref(text)
    if ref is None:
        raise UsageError(f"The repository is {text!r}; ORG/NAME[@REVISION] is expected.")
    try:
        folder = pinned_file(ref, CARD, MAX_TEXT_BYTES).parent
        large_file(ref, CONFIG, folder.name, MAX_TEXT_BYTES)
        for file in (WEIGHTS, EMBEDDINGS):
            large_file(ref, file, folder.name, MAX_TENSOR_BYTES)
        for file in tensor_files(parse_card((folder / CARD).read_text(errors="replace"), folder / CARD)):
            large_file(ref, file, folder.name, MAX_TENSOR_BYTES)  # those that are optional too
    except HubFileMissing as e:
        raise ArtifactIncomplete(
            f"{e}, so it is no model of handful; if it is a network of timm's, `handful train FOLDER --backbone"
            f" {ref.text}` trains on it."
        ) from e
    artifact = open_artifact(folder)
    from handful.service.classifier import Classifier  # torch, which a wrong name does not need

    Classifier.from_artifact(artifact).check()
    return artifact
