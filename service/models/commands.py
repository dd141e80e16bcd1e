"""`handful models`: list, promote, roll back and delete versions, and exchange them with the Hub and BentoML.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from handful.service.artifact.errors import UsageError
from handful.service.models.sharing import pull, push
from handful.service.terminal.output import (
    EXIT_PROBLEMS,
    Command,
    CommandGroup,
    check_onnx,
    json_option,
    model_flag,
    one_model,
    onnx_option,
    print_result,
)


def takes_model(metavar: str = "NAME[:VERSION]", *, required: bool = True) -> Callable[[Command], Command]:
    """The model, as an argument or as `--model`."""

    def decorate(command: Command) -> Command:
        @click.argument("argument", metavar=metavar if required else f"[{metavar}]", required=False)
        @model_flag(required=required)
        @functools.wraps(command)
        def with_model(*, argument: str | None, model: str | None, **others: Any) -> Any:
            return command(model=one_model(argument, model, metavar, required=required), **others)

        return with_model

    return decorate


@click.group(cls=CommandGroup)
def models() -> None:
    """List, choose, share and delete the versions of each model."""


@models.command("list")
@takes_model(required=False)
@json_option
def list_models(*, model: str | None, as_json: bool) -> None:
    """List every version, or those of one model.

    * marks the champion, the version in use. A narrow terminal shows fewer columns, a pipe shows all. Exit status 1:
    some versions are broken, or a champion is missing; the lines below the table say why.
    """
    from handful.service.artifact.store import Store
    from handful.service.models.table import list_versions, print_table

    versions, problems = list_versions(Store(), model)
    if as_json:
        print_result(versions, "", as_json=True)
    else:
        print_table(versions, problems)
    if problems:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@models.command("show")
@takes_model(required=False)
@onnx_option
@click.option("--engine", is_flag=True, help="Also print to stderr how this machine computes the network, and why.")
@json_option
def show_model(*, model: str | None, onnx: Path | None, engine: bool, as_json: bool) -> None:
    """Print the card (the description) of one version as JSON.

    All its files are read and verified. Default: the champion (the version in use) of the only model.
    """
    from handful.service.artifact.folder import open_artifact
    from handful.service.artifact.store import Store
    from handful.service.lean.engines import classifier_of

    check_onnx(onnx, model)
    path = onnx or Store().resolve(model)
    card = classifier_of(path).card if onnx else open_artifact(path).card
    if engine:
        classifier = classifier_of(path)
        classifier.choose_fastest_for(None)
        click.echo(classifier.engine_text, err=True)
    print_result(card.model_dump(mode="json"), card.model_dump_json(indent=2), as_json=as_json)


@models.command()
@takes_model("NAME:VERSION")
@json_option
def promote(*, model: str, as_json: bool) -> None:
    """Make a version the champion (the version in use).

    All its files are read and verified first. A running service switches to it.
    """
    from handful.service.artifact.store import Store

    store = Store()
    if ":" not in model:
        raise UsageError(f"Got {model!r}, a name without a version; NAME:VERSION is expected.")
    path = store.resolve(model)
    former = store.champion(path.parent.name)
    store.promote(path.parent.name, path.name)
    _print_champion(path.parent.name, path.name, former, as_json=as_json)


@models.command()
@takes_model("NAME")
@click.option("--to", metavar="VERSION", help="An earlier champion; default: the previous one.")
@json_option
def rollback(*, model: str, to: str | None, as_json: bool) -> None:
    """Go back to the previous champion (version in use).

    All its files are read and verified first. After the champions 1, 2, 3 one rollback leads to 2 and another to 1.
    The version that was in use is kept; promote it to bring it back.
    """
    from handful.service.artifact.store import Store

    store = Store()
    name, colon, _ = model.partition(":")
    if colon:
        raise UsageError(f"Got {model!r}; rollback goes back from the version in use, so NAME is expected: {name}.")
    former = store.champion(name)
    _print_champion(name, store.rollback(name, to), former, as_json=as_json)


def _print_champion(name: str, version: str, former: str | None, *, as_json: bool) -> None:
    result = {"model": f"{name}:{version}", "former": former and f"{name}:{former}"}
    before = f" (before: {name}:{former})" if former not in {None, version} else ""
    print_result(result, f"{name}:{version} is the champion{before}", as_json=as_json)


@models.command()
@takes_model()
@click.option("--yes", is_flag=True, help="Delete all versions of a name without asking.")
@json_option
def delete(*, model: str, yes: bool, as_json: bool) -> None:
    """Delete one version, or all versions of a model.

    This cannot be undone. The champion (the version in use) cannot be deleted while there are other versions: promote
    one of them first. A running service continues with the version it has loaded. The number of a deleted version is
    not used again.
    """
    from handful.service.artifact.store import Store

    store = Store()
    name, colon, version = model.partition(":")
    versions = store.versions(name)
    if versions and not colon and not yes:
        _confirm(f"Delete all {len(versions)} versions of {name} ({', '.join(versions)})?")
    deleted = [f"{name}:{each}" for each in store.delete(name, version if colon else None)]
    print_result({"deleted": deleted}, f"deleted {', '.join(deleted)}", as_json=as_json)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Without a terminal this cannot be confirmed; add --yes to delete them.")
    click.confirm(question, abort=True, err=True)


models.add_command(push)
models.add_command(pull)


@models.command()
@takes_model()
@json_option
def bento(*, model: str, as_json: bool) -> None:
    """Copy a version to BentoML's model store for `bentoml build`.

    Prints its tag.
    """
    from handful.service.artifact.store import Store

    path = Store().resolve(model)
    from handful.service.bento import register

    tag = register(path)
    print_result({"tag": tag}, tag, as_json=as_json)
