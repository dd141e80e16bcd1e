"""A version of this store -> an address, whole, and then the pointer to the champion there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handful.service.artifact.card import ModelCard
from handful.service.artifact.errors import UsageError
from handful.service.artifact.folder import ONNX, THUMBNAILS, WEIGHTS, file_sha256, open_artifact
from handful.service.artifact.remote import WEB, upload, upload_bytes
from handful.service.models.publishing import shared_files
from handful.service.models.remote_model import VERSION, VERSIONS, RemoteModel, StoredFile, StoredRef, StoredVersion


@dataclass(frozen=True)
class PushedThere:
    """The result of a push to an address."""

    model: str
    url: str
    version: str
    sha256: str
    uploaded: bool  # False: it was there already
    champion: bool
    embeddings: bool
    thumbnails: bool
    onnx: bool


def push_to(url: str, folder: Path, *, embeddings: bool | None, promote: bool | None, is_champion: bool) -> PushedThere:
    """Uploads a version unless it is there, and moves the pointer: if `promote`, or None and it is the champion here.

    The first version there becomes the champion, too. A version there is never changed. Raises `UsageError`,
    `StoreError` or an `ArtifactError`; the pointer then is where it was.
    """
    remote = RemoteModel(url)
    if url.partition("://")[0] in WEB:
        raise UsageError(f"{url} cannot be written; an address at s3://, gs://, az://, hf:// or file:// can.")
    artifact = open_artifact(folder)
    if embeddings and not artifact.card.data.embeddings_kept:
        raise UsageError(f"{artifact.card.model} has no embeddings; push it without --embeddings.")
    ref = _same_version(remote, artifact.card, embeddings=embeddings)
    uploaded = ref is None
    if ref is None:
        files, card = shared_files(artifact, embeddings=bool(embeddings), thumbnails=bool(embeddings), onnx=True)
        ref = _upload(remote, card, files)
    stored, digest = remote.contents(ref)
    champion = remote.champion()
    if promote is None:
        promote = is_champion or champion is None
    if promote and (champion is None or champion.digest != digest):
        remote.point(ref, digest)
    return PushedThere(
        model=artifact.card.model,
        url=remote.url,
        version=ref.folder,
        sha256=digest,
        uploaded=uploaded,
        champion=promote or (champion is not None and champion.digest == digest),
        embeddings=stored.embeddings,
        thumbnails=THUMBNAILS in stored.files,
        onnx=ONNX in stored.files,
    )


def _same_version(remote: RemoteModel, card: ModelCard, *, embeddings: bool | None) -> StoredRef | None:
    """Where an earlier push has put the version. Raises `UsageError` if its number is that of another one."""
    refs = [ref for ref in remote.versions() if ref.number == int(card.version)]
    for ref in refs:
        stored, _ = remote.contents(ref)
        if stored.created_at != card.created_at or stored.files[WEIGHTS].sha256 != card.files[WEIGHTS]:
            continue
        if embeddings not in {None, stored.embeddings}:
            have = "with" if stored.embeddings else "without"
            raise UsageError(
                f"{card.model} is at {remote.url} already, {have} embeddings, and a version there is never changed;"
                f" push it to another address, or without --{'' if embeddings else 'no-'}embeddings."
            )
        return ref
    if refs:
        raise UsageError(
            f"{remote.url} has another version {card.version}, {refs[0].folder}, which was made elsewhere than"
            f" {card.model} here; push to another address, or pull that one and retrain here."
        )
    return None


def _upload(remote: RemoteModel, card: ModelCard, files: Mapping[str, Path | bytes]) -> StoredRef:
    """Brings the files, then version.json. An interrupted push is begun again."""
    stored = StoredVersion(
        model=card.model,
        created_at=card.created_at,
        embeddings=card.data.embeddings_kept,
        files={name: _described(content) for name, content in sorted(files.items())},
    )
    data = f"{stored.model_dump_json(indent=2)}\n".encode()
    digest = hashlib.sha256(data).hexdigest()
    ref = StoredRef(f"{card.version}-{digest[:16]}", digest)
    for name, content in files.items():
        url = remote.address(VERSIONS, ref.folder, name)
        if isinstance(content, Path):
            upload(content, url)
        else:
            upload_bytes(content, url)
    upload_bytes(data, remote.address(VERSIONS, ref.folder, VERSION))
    return ref


def _described(content: Path | bytes) -> StoredFile:
    if isinstance(content, Path):
        return StoredFile(sha256=file_sha256(content), bytes=content.stat().st_size)
    return StoredFile(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
