"""A version at an address -> a version of this store, where it keeps its number if that is free."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from handful.service.artifact.atomic import partial_folder, sweep
from handful.service.artifact.card import OriginCard
from handful.service.artifact.errors import ArtifactError, UsageError
from handful.service.artifact.folder import CARD, Artifact, open_artifact, read_card, without_onnx, write_card
from handful.service.artifact.names import check_name
from handful.service.artifact.store import Store
from handful.service.lean.engines import classifier_of, is_torch_installed
from handful.service.models.remote_model import RemoteModel, StoredRef


def pull_from(text: str, store: Store, name: str | None = None, *, promote: bool = False) -> Path:
    """`URL` (its champion) or `URL@VERSION` -> the folder of the version here; nothing is fetched that is here already.

    It is published once it has been verified and loaded. Raises `UsageError`, `StoreError` or an `ArtifactError`.
    """
    remote, version = _parsed_target(text)
    name = check_name(name or remote.name)
    ref = remote.version(version) if version else remote.champion()
    if ref is None:
        raise UsageError(f"{remote.url} has no champion: nothing has been pushed there, or another address is meant.")
    path = copy_of(store, name, ref)
    if path is None:
        number = ref.number if ref.number > store.highest(name) else None
        path = take(remote, ref, store, name, number, _check_loads)
    if promote:
        store.promote(name, path.name)
    return path


def _parsed_target(text: str) -> tuple[RemoteModel, str]:
    """The model, and what follows an @ in the last part of the address."""
    before, slash, last = text.rpartition("/")
    name, _, version = last.partition("@")
    return RemoteModel(f"{before}{slash}{name}"), version


def _check_loads(artifact: Artifact) -> None:
    if not is_torch_installed():
        classifier_of(artifact.path)  # says so where there is no file to answer from
        return
    from handful.service.classifier import Classifier  # torch, which a wrong address does not need

    Classifier.from_artifact(artifact).check()


def copy_of(store: Store, name: str, ref: StoredRef) -> Path | None:
    """The version here that was pulled from just that one."""
    for version in reversed(store.versions(name)):
        with suppress(ArtifactError, OSError):
            path = store.path(name, version)
            origin = read_card(path).origin
            if origin and origin.revision.startswith(ref.digest):
                return path
    return None


def take(
    remote: RemoteModel,
    ref: StoredRef,
    store: Store,
    name: str,
    number: int | None,
    check: Callable[[Artifact], None] = lambda _: None,
) -> Path:
    """Downloads the version beside those of the name, verifies it and publishes it. Killed, it leaves nothing of it."""
    folder = store.models / check_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    with partial_folder(folder) as arrived:
        onnx = not is_torch_installed()  # else nobody needs it, and whether it answers as the model does is not known
        digest = remote.download(ref, arrived, onnx=onnx)
        artifact = open_artifact(arrived)
        check(artifact)
        card = artifact.card if onnx else without_onnx(artifact.card)
        origin = OriginCard(repo=remote.url, revision=digest, model=artifact.card.model)

        def write(target: Path, version: str) -> None:
            for file in arrived.iterdir():
                if file.name != CARD:
                    shutil.copyfile(file, target / file.name)
            update = {"name": name, "version": version, "origin": origin}
            write_card(target, card.model_copy(update=update))

        return store.publish(name, write, number)
