"""`handful models push` and `pull`: a version on its way to the Hub or another store, and back.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from handful.service.artifact.errors import UsageError
from handful.service.terminal.output import json_option, model_and_target, model_flag, print_result
from handful.service.terminal.progress import next_stage, paused, working

if TYPE_CHECKING:
    from handful.service.artifact.store import Store
    from handful.service.models.publishing import PushSettings

STARTING, COPYING = "starting", "copying"
HUB_STAGES = {STARTING: 1.0}  # the Hub's library then shows bars of its own
STORE_STAGES = {STARTING: 1.0, COPYING: 2.0}
ADDRESS = "://"  # a repository on the Hub has none


@click.command()
@click.argument("words", metavar="NAME[:VERSION] ORG/REPO|URL", nargs=-1, required=True)
@model_flag(required=True)
@click.option(
    "--private", is_flag=True, help="Create the repository as private: only you and people you invite can read it."
)
@click.option(
    "--embeddings/--no-embeddings",
    default=None,
    help="Include the embeddings and content hashes of the training photos, which a retrain needs, and their thumbnails"
    " and file names, or leave all out; default: if the repository is private, embeddings without thumbnails; at a URL"
    " none.",
)
@click.option("--with-report", is_flag=True, help="Include the report, which shows thumbnails of the training photos.")
@click.option(
    "--license", "licence", metavar="ID", help="The licence in the model card, such as apache-2.0; default: none."
)
@click.option(
    "--promote/--no-promote",
    "promoted",
    default=None,
    help="At a URL: make it the champion there, or leave the champion alone; default: if it is the champion (the"
    " version in use) here, or the first there.",
)
@json_option
def push(
    *,
    words: tuple[str, ...],
    model: str | None,
    private: bool,
    embeddings: bool | None,
    with_report: bool,
    licence: str | None,
    promoted: bool | None,
    as_json: bool,
) -> None:
    """Upload a version to the Hugging Face Hub or to a URL.

    NAME:VERSION, or the champion (the version in use) of NAME, is uploaded in one commit to ORG/REPO. --model may name
    it instead. A missing repository is created, public unless --private is given. This needs a token that may write:
    set HF_TOKEN or run `hf auth login`.
    Everything that was pushed stays in the repository's history.

    URL is an address at s3://, gs://, az://, hf:// or file:// that ends in the model's name. Services that follow it
    (HANDFUL_FOLLOW) switch to the version once it is the champion there. A version there is never changed; to push an
    earlier one again moves the champion alone.
    """
    from handful.service.artifact.store import Store

    named, target = model_and_target(words, model, "NAME[:VERSION] ORG/REPO|URL")
    store = Store()
    path = store.resolve(named)
    if ADDRESS in target:
        for flag, given in (("--private", private), ("--with-report", with_report), ("--license", licence)):
            if given:
                raise UsageError(f"{flag} is for a repository on the Hub; {target} is an address: leave it out.")
        _push_to_address(store, path, target, embeddings=embeddings, promote=promoted, as_json=as_json)
        return
    if promoted is not None:
        raise UsageError(f"--promote and --no-promote are for an address; {target!r} is a repository: leave it out.")
    from handful.service.models.publishing import PushSettings

    settings = PushSettings(private=private, embeddings=embeddings, report=with_report, licence=licence)
    _push_to_hub(path, target, settings, as_json=as_json)


def _push_to_hub(path: Path, repo: str, settings: PushSettings, *, as_json: bool) -> None:
    with working(f"Uploading {path.parent.name}:{path.name} to {repo} on the Hugging Face Hub.", HUB_STAGES):
        from handful.service.models.publishing import push_version

        with paused():
            pushed = push_version(path, repo, settings)
    kept = {"embeddings": pushed.embeddings, "thumbnails": pushed.thumbnails, "report": pushed.report}
    access = "private" if pushed.private else "public"
    text = f"{pushed.model} is at {pushed.url} ({access}, {_parts(kept)}), commit {pushed.commit}"
    print_result(dataclasses.asdict(pushed), text, as_json=as_json)


def _push_to_address(
    store: Store, path: Path, url: str, *, embeddings: bool | None, promote: bool | None, as_json: bool
) -> None:
    name = path.parent.name
    with working(f"Uploading {name}:{path.name} to {url}.", STORE_STAGES):
        from handful.service.models.remote_push import push_to

        next_stage(COPYING)
        is_champion = store.served(name) == path.name
        pushed = push_to(url, path, embeddings=embeddings, promote=promote, is_champion=is_champion)
    kept = {"embeddings": pushed.embeddings, "thumbnails": pushed.thumbnails, "model.onnx": pushed.onnx}
    role = "the champion there" if pushed.champion else "not the champion there: --promote makes it"
    if (path / "model.onnx").is_file() and not pushed.onnx:
        role += "; model.onnx was made after the first push, and a version there is never changed"
    already = "" if pushed.uploaded else " was there already,"
    text = f"{pushed.model}{already} is at {pushed.url} as {pushed.version} ({_parts(kept)}), {role}"
    print_result(dataclasses.asdict(pushed), text, as_json=as_json)


def _parts(kept: dict[str, bool]) -> str:
    return ", ".join(f"{'with' if there else 'without'} {part}" for part, there in kept.items())


@click.command()
@click.argument("source", metavar="ORG/REPO[@REVISION]|URL[@VERSION]")
@click.option("--name", help="The model's name here; default: the name in its card, or the one that ends the URL.")
@click.option(
    "--promote",
    "promoted",
    is_flag=True,
    help="Make it the champion (the version in use); the first version of a name always is.",
)
@json_option
def pull(*, source: str, name: str | None, promoted: bool, as_json: bool) -> None:
    """Download a version from the Hugging Face Hub or from a URL.

    It becomes a new version here once it has been verified and loaded. No code in it is executed, and its report is
    not downloaded. From a URL it is the champion there (the version in use), or with @VERSION the one of that number.
    """
    from handful.service.artifact.store import Store

    store = Store()
    if ADDRESS in source:
        with working(f"Downloading {source}.", STORE_STAGES):
            from handful.service.models.remote_pull import pull_from

            next_stage(COPYING)
            path = pull_from(source, store, name, promote=promoted)
    else:
        with working(f"Downloading {source} from the Hugging Face Hub.", HUB_STAGES):
            from handful.service.models.publishing import pull_version

            with paused():
                path = pull_version(source, store, name, promote=promoted)
    _print_pulled(source, store, path, as_json=as_json)


def _print_pulled(source: str, store: Store, path: Path, *, as_json: bool) -> None:
    from handful.service.artifact.folder import read_card

    card = read_card(path)
    champion = store.champion(card.name)
    result: dict[str, Any] = {
        "model": card.model,
        "path": str(path),
        "labels": list(card.labels),
        "cv": card.cross_validation.model_dump(mode="json"),
        "embeddings": card.data.embeddings_kept,
        "origin": card.origin and card.origin.model_dump(mode="json"),
        "champion": champion == card.version,
    }
    role = "the champion" if champion == card.version else f"not the champion, which is {card.name}:{champion}"
    retrain = "" if card.data.embeddings_kept else "; without embeddings, so it cannot be retrained"
    text = f"{source} is here as {card.model}, {role}; labels: {', '.join(card.labels)}{retrain}"
    print_result(result, text, as_json=as_json)
