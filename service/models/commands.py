"""`handful models`: the versions of each name, and their way to the Hub and to BentoML and back.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click
from handful.service.artifact.errors import UsageError
from handful.service.terminal.output import FOUND, answer, json_option

model_argument = click.argument("model", metavar="NAME[:VERSION]")


@click.group()
def models() -> None:
    """List the versions of each model, choose the champion, share, delete."""


@models.command("list")
@click.argument("name", required=False)
@json_option
def list_models(*, name: str | None, as_json: bool) -> None:
    """Every version, or those of NAME.

    * marks the champion, the version that answers. A narrow terminal is shown fewer columns, a pipe all. Exit status
    1: some versions are broken, or a champion is not there; the lines below the table say why.
    """
    from handful.service.artifact.store import Store
    from handful.service.models.table import describe, print_table

    versions, flaws = describe(Store(), name)
    if as_json:
        answer(versions, "", as_json=True)
    else:
        print_table(versions, flaws)
    if flaws:
        raise click.exceptions.Exit(FOUND)


@models.command("show")
@click.argument("model", metavar="[NAME[:VERSION]]", required=False)
@click.option("--engine", is_flag=True, help="Also say on stderr how this machine computes its network, and why.")
@json_option
def show_model(*, model: str | None, engine: bool, as_json: bool) -> None:
    """One version's card, as JSON.

    It is read whole and verified. Default: the champion of the only name.
    """
    from handful.service.artifact.folder import open_artifact
    from handful.service.artifact.store import Store

    artifact = open_artifact(Store().resolve(model))
    card = artifact.card
    if engine:
        from handful.service.classifier import Classifier

        network = Classifier.from_artifact(artifact).network
        click.echo(f"{network.engine.words} on {network.device.type}: {network.engine.why}", err=True)
    answer(card.model_dump(mode="json"), card.model_dump_json(indent=2), as_json=as_json)


@models.command()
@click.argument("model", metavar="NAME:VERSION")
@json_option
def promote(*, model: str, as_json: bool) -> None:
    """Make NAME:VERSION the champion.

    It is read whole and verified first. A running service takes it up.
    """
    from handful.service.artifact.store import Store

    store = Store()
    path = store.resolve(model) if ":" in model else _no_version(model)
    former = store.champion(path.parent.name)
    store.promote(path.parent.name, path.name)
    _say_champion(path.parent.name, path.name, former, as_json=as_json)


def _no_version(model: str) -> Path:
    raise UsageError(f"Which version? Got {model!r}; NAME:VERSION is allowed, and `handful models list` shows them.")


@models.command()
@click.argument("name")
@click.option("--to", metavar="VERSION", help="An earlier champion; default: the one before this one.")
@json_option
def rollback(*, name: str, to: str | None, as_json: bool) -> None:
    """Go back to the champion before this one.

    It is read whole and verified first. Champions lie on a pile: after 1, 2, 3 one rollback leads to 2 and another to
    1. The version that was rolled back from is kept; promoting it brings it back.
    """
    from handful.service.artifact.store import Store

    store = Store()
    former = store.champion(name)
    _say_champion(name, store.rollback(name, to), former, as_json=as_json)


def _say_champion(name: str, version: str, former: str | None, *, as_json: bool) -> None:
    result = {"model": f"{name}:{version}", "former": former and f"{name}:{former}"}
    was = f" (before: {name}:{former})" if former not in {None, version} else ""
    answer(result, f"{name}:{version} is the champion{was}", as_json=as_json)


@models.command()
@model_argument
@click.option("--yes", is_flag=True, help="Do not ask before all versions of a name are deleted.")
@json_option
def delete(*, model: str, yes: bool, as_json: bool) -> None:
    """Delete one version, or all of NAME.

    There is no way back. The champion is refused while there are other versions: promote one of them first. A running
    service goes on answering with what it has loaded. A deleted version's number is not given again.
    """
    from handful.service.artifact.store import Store

    store = Store()
    name, colon, version = model.partition(":")
    versions = store.versions(name)
    if versions and not colon and not yes:
        _confirm(f"Delete all {len(versions)} versions of {name} ({', '.join(versions)})?")
    deleted = [f"{name}:{each}" for each in store.delete(name, version if colon else None)]
    answer({"deleted": deleted}, f"deleted {', '.join(deleted)}", as_json=as_json)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to be asked; --yes deletes them.")
    click.confirm(question, abort=True, err=True)


@models.command()
@model_argument
@click.argument("repo", metavar="ORG/REPO")
@click.option("--private", is_flag=True, help="Only you and those you let in can read it.")
@click.option(
    "--embeddings/--no-embeddings",
    default=None,
    help="With the embeddings and content hashes of the training photos, which a retrain needs, or without;"
    " default: with them where the repository is private.",
)
@click.option("--with-report", is_flag=True, help="With the report, which shows thumbnails of the training photos.")
@click.option(
    "--license", "licence", metavar="ID", help="What the model card says, such as apache-2.0; default: nothing."
)
@json_option
def push(
    *,
    model: str,
    repo: str,
    private: bool,
    embeddings: bool | None,
    with_report: bool,
    licence: str | None,
    as_json: bool,
) -> None:
    """Upload a version to the Hugging Face Hub.

    The champion of NAME, or VERSION, in one commit. The repository is made where there is none, for all to read
    unless --private. Needs a token with the right to write: HF_TOKEN, or `hf auth login`. What was pushed once stays
    in the repository's history.
    """
    from handful.service.artifact.store import Store
    from handful.service.models.publishing import PushSettings
    from handful.service.models.publishing import push as push_version

    settings = PushSettings(private=private, embeddings=embeddings, report=with_report, licence=licence)
    pushed = push_version(Store().resolve(model), repo, settings)
    parts = f"{'with' if pushed.embeddings else 'without'} embeddings, {'with' if pushed.report else 'without'} report"
    seen = "private" if pushed.private else "public"
    words = f"{pushed.model} is at {pushed.url} ({seen}, {parts}), commit {pushed.commit}"
    answer(dataclasses.asdict(pushed), words, as_json=as_json)


@models.command()
@click.argument("repo", metavar="ORG/REPO[@REVISION]")
@click.option("--name", help="The model's name here; default: the name in its card.")
@click.option(
    "--promote", "promoted", is_flag=True, help="Make it the champion; the first version of a name is anyway."
)
@json_option
def pull(*, repo: str, name: str | None, promoted: bool, as_json: bool) -> None:
    """Download a version from the Hugging Face Hub.

    It is published here as a new version once it has been verified and loaded. Nothing in it is executed, and its
    report stays on the Hub.
    """
    from handful.service.artifact.folder import read_card
    from handful.service.artifact.store import Store
    from handful.service.models.publishing import pull as pull_version

    store = Store()
    path = pull_version(repo, store, name, promote=promoted)
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
    words = f"{repo} is here as {card.model}, {role}: {', '.join(card.labels)}{retrain}"
    answer(result, words, as_json=as_json)


@models.command()
@model_argument
@json_option
def bento(*, model: str, as_json: bool) -> None:
    """Put a version into BentoML's model store.

    That is where `bentoml build` takes it from. Prints its tag.
    """
    from handful.service.artifact.store import Store
    from handful.service.bento import register

    tag = register(Store().resolve(model))
    answer({"tag": tag}, tag, as_json=as_json)
