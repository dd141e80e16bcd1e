"""A version of our store -> a repository on the Hub, and back.

What of an artifact is personal: its report shows thumbnails of the photos, and embeddings.safetensors holds an
embedding and a content hash a photo: something of a photo can be guessed from the first, and the second tells whether
one was among them. So the report stays here unless it is asked for, and a repository that anybody can read gets no
embeddings unless they are asked for; one that is private does, as a retrain needs them. The arrays of the unknown
detector, a mean a label, always go along: without them nothing is unknown.

What is pulled is data: JSON, and tensors without pickle. The report of a stranger is a page with scripts, and stays
on the Hub.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePath

from handful.service.artifact.card import ModelCard, OriginCard
from handful.service.artifact.errors import ArtifactIncomplete, ArtifactInconsistent, HubFileMissing, UsageError
from handful.service.artifact.folder import (
    CARD,
    CONFIG,
    EMBEDDINGS,
    MODEL_CARD,
    WEIGHTS,
    Artifact,
    card_json,
    open_artifact,
    write_card,
)
from handful.service.artifact.hub import HubRef, brief, large_file, parse_ref, pinned_file, writing
from handful.service.artifact.model_card import render_model_card
from handful.service.artifact.store import Store, check_name
from handful.service.classifier import Classifier
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

REPORT = "report/"
UNKNOWN = "unknown."  # how the names of the unknown detector's arrays begin
# what building a network raises at a description or tensors that are not for it
MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class PushSettings:
    """What of a version goes to the Hub. `embeddings` None: only where the repository is private."""

    private: bool = False
    embeddings: bool | None = None
    report: bool = False
    licence: str | None = None


@dataclass(frozen=True)
class Pushed:
    """What went where."""

    model: str
    repo: str
    url: str
    commit: str
    private: bool
    embeddings: bool
    report: bool


def push(folder: Path, repo: str, settings: PushSettings) -> Pushed:
    """One commit with the whole version, in a repository that is made where there is none.

    Raises `UsageError`, an `ArtifactError` or a `HubError`; the repository has then no half of a version.
    """
    ref, artifact = _repository(repo), open_artifact(folder)
    if settings.embeddings and not artifact.card.data.embeddings_kept:
        raise UsageError(f"{artifact.card.model} has no embeddings that --embeddings could push.")
    if settings.report and not (folder / REPORT).is_dir():
        raise UsageError(f"{artifact.card.model} has no report that --with-report could push.")
    api = HfApi()
    with writing(ref):
        api.create_repo(repo, private=settings.private or None, exist_ok=True)
        there = api.model_info(repo)
    if settings.private and not there.private:
        raise UsageError(f"{repo} is there already, and public: make it private in its settings on the Hub first.")
    kept = bool(there.private) if settings.embeddings is None else settings.embeddings
    files = _files(artifact, ref, settings, embeddings=kept)
    stale = {file.rfilename for file in there.siblings or () if file.rfilename.startswith(REPORT)} - set(files)
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()),
        *(CommitOperationDelete(path_in_repo=name) for name in sorted(stale)),
    ]
    with writing(ref):
        commit = api.create_commit(repo, operations, commit_message=artifact.card.model)
    url = f"{api.endpoint}/{repo}"
    kept = kept and artifact.card.data.embeddings_kept
    return Pushed(artifact.card.model, repo, url, commit.oid, bool(there.private), kept, settings.report)


def _repository(repo: str) -> HubRef:
    ref = parse_ref(repo)
    if ref is None or ref.text != ref.repo:
        raise UsageError(f"The repository is {repo!r}, allowed: ORG/NAME, letters, digits and . _ - in both.")
    return ref


def _files(artifact: Artifact, ref: HubRef, settings: PushSettings, *, embeddings: bool) -> dict[str, Path | bytes]:
    """What the repository is to hold, by name; the card's hashes are those of the files beside it."""
    path, card = artifact.path, _without_place(artifact.card)
    files: dict[str, Path | bytes] = {CONFIG: path / CONFIG, WEIGHTS: path / WEIGHTS, EMBEDDINGS: path / EMBEDDINGS}
    if not embeddings:
        files[EMBEDDINGS] = content = _unknown_only(artifact)
        hashes = card.files | {EMBEDDINGS: hashlib.sha256(content).hexdigest()}
        data = card.data.model_copy(update={"embeddings_kept": False})
        card = card.model_copy(update={"files": hashes, "data": data})
    files[CARD] = card_json(card).encode()
    files[MODEL_CARD] = render_model_card(card, ref.repo, settings.licence).encode()
    if settings.report:
        report = sorted(file for file in (path / REPORT).rglob("*") if file.is_file())
        files |= {file.relative_to(path).as_posix(): file for file in report}
    return files


def _unknown_only(artifact: Artifact) -> bytes:
    from safetensors.torch import save

    return save({name: tensor for name, tensor in artifact.embeddings().items() if name.startswith(UNKNOWN)})


def _without_place(card: ModelCard) -> ModelCard:
    """A backbone out of a folder is named by the folder alone; where that lies is nobody else's matter."""
    if card.backbone.revision is not None:
        return card
    backbone = card.backbone.model_copy(update={"ref": PurePath(card.backbone.ref.replace("\\", "/")).name})
    return card.model_copy(update={"backbone": backbone})


def pull(text: str, store: Store, name: str | None = None, *, promote: bool = False) -> Path:
    """`ORG/NAME[@REVISION]` -> a new version, of the name in its card where none is given; its folder.

    It is published once it has been verified and loaded. Raises `UsageError`, a `HubError` or an `ArtifactError`.
    """
    ref = parse_ref(text)
    if ref is None:
        raise UsageError(f"The repository is {text!r}, allowed: ORG/NAME[@REVISION].")
    artifact = _fetched(ref)
    named = check_name(name or artifact.card.name)
    origin = OriginCard(repo=ref.repo, revision=artifact.path.name, model=artifact.card.model)

    def write(folder: Path, version: str) -> None:
        for file in (CONFIG, WEIGHTS, EMBEDDINGS):
            shutil.copyfile(artifact.path / file, folder / file)
        write_card(folder, artifact.card.model_copy(update={"name": named, "version": version, "origin": origin}))

    path = store.publish(named, write)
    if promote:
        store.promote(named, path.name)
    return path


def _fetched(ref: HubRef) -> Artifact:
    """The repository's files in huggingface_hub's cache, once they have made a classifier."""
    try:
        folder = pinned_file(ref, CARD).parent
        for file in (CONFIG, WEIGHTS, EMBEDDINGS):
            large_file(ref, file, folder.name)
    except HubFileMissing as e:
        raise ArtifactIncomplete(
            f"{e}, so it is no artifact of handful; `handful train FOLDER --backbone {ref.text}` trains on a network"
            " of timm's."
        ) from e
    artifact = open_artifact(folder)
    try:
        Classifier.from_artifact(artifact)
    except MISFITS as e:
        raise ArtifactInconsistent(f"{ref.text!r} on the Hub does not make a classifier: {brief(e)}.") from e
    return artifact
