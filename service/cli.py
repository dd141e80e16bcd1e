"""The commands explain, serve, studio and label, and `commands`: all that answer.

This module and `training/cli.py` import nothing heavy: torch is loaded when a command runs, after its checks.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from handful.service.artifact.errors import UsageError
from handful.service.classify.command import classify, merge
from handful.service.drift.command import drift
from handful.service.export.command import export
from handful.service.models.commands import models
from handful.service.terminal.answers import explain_text
from handful.service.terminal.output import (
    check_onnx,
    check_out,
    check_photo,
    command_line,
    json_option,
    limit_options,
    model_flag,
    model_option,
    onnx_option,
    print_result,
)
from handful.service.terminal.progress import (
    CHANGED_COPIES,
    DRAWING,
    LOADING_MODEL,
    LOOKING_INSIDE,
    STARTING,
    next_stage,
    working,
)


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .png file.")
@model_option
@click.option(
    "--shift", is_flag=True, help="Also measure how stable the answer is: the photo moved, resized, cropped, mirrored."
)
@click.option("--short", is_flag=True, help="Draw the top row alone: the answer, where it looked, how sure it is.")
@limit_options
@json_option
def explain(*, image: Path, out: Path, model: str | None, shift: bool, short: bool, as_json: bool) -> None:
    """Draw which parts of one photo decided its answer.

    The picture also shows what the network's layers respond to.
    """
    from handful.service.artifact.store import Store

    check_out(out, [".png"])
    check_photo(image)
    artifact = Store().resolve(model)
    changed = {CHANGED_COPIES: 2.0} if shift else {}
    stages = {STARTING: 4.0, LOADING_MODEL: 1.0, LOOKING_INSIDE: 1.0, **changed, DRAWING: 1.0}
    with working(f"Explaining how {_version(artifact)} answers {image}.", stages):
        from handful.service.classifier import Classifier
        from handful.service.explain.picture import explain_image

        next_stage(LOADING_MODEL)
        result = explain_image(Classifier.load(artifact), image, out, shift=shift, short=short)
    print_result(result, explain_text(result), as_json=as_json)


def _version(artifact: Path) -> str:
    return f"{artifact.parent.name}:{artifact.name}"


@click.command()
@model_flag("--name")
@onnx_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The port to listen on.")
@click.option(
    "--label-studio",
    is_flag=True,
    help="Also be a machine-learning backend of the Label Studio at HANDFUL_LABEL_STUDIO_URL, below /label-studio.",
)
def serve(*, model: str | None, onnx: Path | None, host: str, port: int, label_studio: bool) -> None:
    """Answer over HTTP, with a web page to try it.

    Every model is served under its name, and one of them, the default model, by the short calls such as /predict: that
    of --model, else the one that was made first. A newly promoted version is loaded without a restart; with --model
    NAME:VERSION that version is served for ever, with --onnx that file. Settings are environment variables,
    HANDFUL_...; an address that other machines can reach needs HANDFUL_API_KEY.
    """
    check_onnx(onnx, model)
    if label_studio:
        os.environ["HANDFUL_LABEL_STUDIO"] = "1"
    _serve(model, host, port, onnx=onnx)


@click.command()
@model_flag("--name")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The port to listen on.")
def studio(*, model: str | None, port: int) -> None:
    """Open the web page to make, try and improve models.

    Starts the service for this machine alone, as serve does, and opens its page in a browser. Ctrl-C ends it.
    """
    _serve(model, "127.0.0.1", port, page="")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="NAME",
    help="The model that learns the labels, an existing or a new one; default: the name of SOURCE.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("labelled"),
    show_default=True,
    help="The folder that labelled photos land in.",
)
@click.option("--copy", is_flag=True, help="Put copies there, not links.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The port to listen on.")
def label(*, source: Path, model: str | None, out: Path, copy: bool, port: int) -> None:
    """Label the photos of a folder on the web page.

    Opens the screen Label on the photos of SOURCE, a dozen alike at a time once there is a model, which learns beside
    it. Every label is kept at once: as a link in --out/LABEL, as a row of --out/manifest.csv and in the photo library
    of the model. SOURCE stays as it is. Ctrl-C ends it; started again, it goes on.
    """
    from urllib.parse import quote

    from handful.service.labelling.start import prepare_labelling

    name = prepare_labelling(source, model, out, copy=copy)
    click.echo(f"The labels of {source} land in {out}, and {name} learns them. Later:", err=True)
    click.echo(f"    {command_line('train', out)}", err=True)
    _serve(None, "127.0.0.1", port, page=f"#/m/{quote(name)}/label")


def _serve(model: str | None, host: str, port: int, *, page: str | None = None, onnx: Path | None = None) -> None:
    """`page` is the screen that is opened in a browser; None: none is."""
    from handful.service.artifact.store import Store

    store = Store()
    follow = os.environ.get("HANDFUL_FOLLOW") or None
    if onnx is not None:
        os.environ["HANDFUL_MODEL"] = str(onnx)
    elif follow:
        _check_follow(store.models, model)
    elif name := model or os.environ.get("HANDFUL_NAME"):
        artifact = store.resolve(name)
        os.environ["HANDFUL_NAME"] = artifact.parent.name
        if model and ":" in model:
            os.environ["HANDFUL_MODEL"] = str(artifact)
    elif not os.environ.get("HANDFUL_MODEL") and store.names():  # else it waits for the first model
        store.champion_path(store.oldest())  # raises an error that says what to do
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"

    from handful.service.terminal.serving import announce, check_address, check_bentoml_home, open_page, starting_words

    has_model = bool(page or os.environ.get("HANDFUL_MODEL") or store.names())  # a screen makes its own
    click.echo(starting_words(host, port, None if has_model else store.models, follow), err=True)

    from handful.service.settings import ANNOUNCED, Settings

    settings = Settings.from_environ()
    if settings.model is not None:
        os.environ["HANDFUL_MODEL"] = str(settings.model.absolute())  # workers run in another folder
    check_address(host, port, has_key=settings.api_key is not None)
    check_bentoml_home()
    os.environ[ANNOUNCED] = "1"
    announce(host, port, has_key=settings.api_key is not None)
    if page is not None:
        open_page(host, port, page)

    from handful.service.app import serve_http

    serve_http(host, port)


def _check_follow(models: Path, model: str | None) -> None:
    """A service that follows an address is told its model by that, and keeps what it takes."""
    from handful.service.terminal.serving import can_be_made

    if model and ":" in model:
        raise UsageError(f"--model {model} is one version for ever, and HANDFUL_FOLLOW asks for a champion; unset one.")
    if model:
        os.environ["HANDFUL_NAME"] = model
    if not can_be_made(models):
        raise UsageError(
            f"HANDFUL_FOLLOW keeps what it takes in {models}, where this user may not write; set HANDFUL_HOME to a"
            " folder that may be written."
        )


commands: dict[str, click.Command] = {
    "classify": classify,
    "merge": merge,
    "drift": drift,
    "explain": explain,
    "export": export,
    "models": models,
    "serve": serve,
    "studio": studio,
    "label": label,
}
