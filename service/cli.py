"""The commands of service: classify, explain, models, serve, studio.

This module and `training/cli.py` import nothing heavy: torch is loaded when a command runs, after its checks.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
from handful.service.artifact.errors import UsageError
from handful.service.models.commands import models
from handful.service.terminal.answers import classify_text, explain_text
from handful.service.terminal.output import (
    EXIT_PROBLEMS,
    check_out,
    check_photo,
    json_option,
    limit_options,
    model_flag,
    model_option,
    print_result,
    tta_option,
)
from handful.service.terminal.progress import (
    CHANGED_COPIES,
    DRAWING,
    LOADING_MODEL,
    LOOKING,
    LOOKING_INSIDE,
    STARTING,
    next_stage,
    progress_bar,
    tell,
    working,
)


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="A .csv, .jsonl or .parquet file for the rows.")
@model_option
@click.option(
    "--path-column", metavar="NAME", help="Of a table: the column of paths; default: found by its usual name."
)
@click.option("--resume", is_flag=True, help="Continue a run with --out that was interrupted.")
@click.option("--excel", is_flag=True, help="Write the .csv for Excel: it shows all letters, and no cell runs.")
@tta_option
@limit_options
@json_option
def classify(
    *,
    sources: tuple[Path, ...],
    out: Path | None,
    model: str | None,
    path_column: str | None,
    resume: bool,
    excel: bool,
    tta: bool,
    as_json: bool,
) -> None:
    """Answer photos and folders of photos with their labels.

    Each SOURCE is a photo, a folder, a zip, a table of paths (.csv, .jsonl, .parquet) or hf://datasets/ORG/NAME, whose
    photos are all classified. The answers are printed, or with --out written
    to a file, one row per photo.

    Exit status 1: done, but some photos could not be read, whose rows say why; or there were no photos.
    """
    from handful.service.artifact.store import Store
    from handful.service.classify.local import GivenPhotos, classify_in_memory, classify_sources
    from handful.service.classify.result_files import ENDINGS, summarised

    if out is not None:
        check_out(out, ENDINGS)
    elif resume:
        raise UsageError("--resume continues a file of rows; add --out FILE, the file that was begun.")
    if excel and (out is None or out.suffix.lower() != ".csv"):
        raise UsageError(f"--excel is for a .csv file; got {f'--out {out}' if out else 'no --out'}.")
    photos, artifact = GivenPhotos(sources, path_column), Store().resolve(model)
    started = time.monotonic()
    with working(f"Classifying {' '.join(map(str, sources))} with {_version(artifact)}.", {STARTING: 4, LOOKING: 8}):
        from handful.service.classifier import Classifier

        next_stage(LOADING_MODEL)
        classifier = Classifier.load(artifact)
        count = sum(1 for _ in photos)
        for words in photos.read_as:
            tell(words)
        if not tta:
            classifier.choose_fastest_for(count)
        with progress_bar(LOOKING, count) as progress:
            if out is None:
                rows = classify_in_memory(classifier, photos, tta=tta, progress=progress)
                summary = summarised(rows)
            else:
                rows = []
                summary = classify_sources(
                    classifier, photos, out, resume=resume, tta=tta, excel=excel, progress=progress
                )
    seconds = time.monotonic() - started
    result = {
        "model": classifier.card.model,
        "tta": tta,
        "engine": classifier.network.engine.label,
        "images": summary.images,
        "failed": summary.failed,
        "unknown": summary.unknown,
        "per_label": {label: summary.per_label.get(label, 0) for label in classifier.labels},
        "seconds": round(seconds, 3),
        "images_per_second": round((summary.images - summary.resumed) / seconds, 1) if seconds else 0.0,
        "left_out": dict(photos.left_out.most_common()),
        "formulas": 0 if excel or out is None or out.suffix.lower() != ".csv" else summary.formulas,
        **({"rows": rows} if out is None else {"out": str(out)}),
    }
    print_result(result, classify_text(result, photos.folder or Path()), as_json=as_json)
    if summary.failed or not summary.images:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


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
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The port to listen on.")
def serve(*, model: str | None, host: str, port: int) -> None:
    """Answer over HTTP, with a web page to try it.

    Every model is served under its name, and one of them, the default model, by the short calls such as /predict: that
    of --model, else the one that was made first. A newly promoted version is loaded without a restart; with --model
    NAME:VERSION that version is served for ever. Settings are environment variables, HANDFUL_...; an address that other
    machines can reach needs HANDFUL_API_KEY.
    """
    _serve(model, host, port, browser=False)


@click.command()
@model_flag("--name")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The port to listen on.")
def studio(*, model: str | None, port: int) -> None:
    """Open the web page to make, try and improve models.

    Starts the service for this machine alone, as serve does, and opens its page in a browser. Ctrl-C ends it.
    """
    _serve(model, "127.0.0.1", port, browser=True)


def _serve(model: str | None, host: str, port: int, *, browser: bool) -> None:
    from handful.service.artifact.store import Store

    store = Store()
    if name := model or os.environ.get("HANDFUL_NAME"):
        artifact = store.resolve(name)
        os.environ["HANDFUL_NAME"] = artifact.parent.name
        if model and ":" in model:
            os.environ["HANDFUL_MODEL"] = str(artifact)
    elif not os.environ.get("HANDFUL_MODEL") and store.names():  # else it waits for the first model
        store.champion_path(store.oldest())  # raises an error that says what to do
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"

    from handful.service.terminal.serving import announce, check_address, check_bentoml_home, open_page, starting_words

    has_model = bool(os.environ.get("HANDFUL_MODEL") or store.names())
    click.echo(starting_words(host, port, None if has_model else store.models), err=True)

    from handful.service.settings import ANNOUNCED, Settings

    settings = Settings.from_environ()
    check_address(host, port, has_key=settings.api_key is not None)
    check_bentoml_home()
    os.environ[ANNOUNCED] = "1"
    announce(host, port, has_key=settings.api_key is not None)
    if browser:
        open_page(host, port)

    from handful.service.app import serve_http

    serve_http(host, port)


commands: dict[str, click.Command] = {
    "classify": classify,
    "explain": explain,
    "models": models,
    "serve": serve,
    "studio": studio,
}
