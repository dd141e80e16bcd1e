"""The commands of service: classify, explain, models, serve.

This module and `training/cli.py` import nothing heavy: torch is loaded when a command runs, after its checks.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
from handful.service.artifact.errors import UsageError
from handful.service.models.commands import models
from handful.service.terminal.answers import classify_text, explain_text, merge_text
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
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--out", "target", type=click.Path(), help="A .csv, .jsonl or .parquet file for the rows, here or at an address."
)
@model_option
@click.option(
    "--path-column", metavar="NAME", help="Of a table: the column of paths; default: found by its usual name."
)
@click.option("--resume", is_flag=True, help="Continue a run with --out that was interrupted.")
@click.option(
    "--shard", "part", metavar="I/N", help="Only part I of N, into a .parquet file; `handful merge` joins all parts."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where it is computed: this process, or the Ray cluster at RAY_ADDRESS (without one, Ray on this machine).",
)
@click.option("--actor-cpus", type=click.FloatRange(1), metavar="N", help="On Ray: CPUs of one actor.")
@click.option(
    "--actor-gpus", type=click.FloatRange(0), metavar="N", help="On Ray: GPUs of one actor, such as 0.5; default: 1."
)
@click.option("--excel", is_flag=True, help="Write the .csv for Excel: it shows all letters, and no cell runs.")
@tta_option
@limit_options
@json_option
def classify(
    *,
    sources: tuple[str, ...],
    target: str | None,
    model: str | None,
    path_column: str | None,
    resume: bool,
    part: str | None,
    engine: str,
    actor_cpus: float | None,
    actor_gpus: float | None,
    excel: bool,
    tta: bool,
    as_json: bool,
) -> None:
    """Answer photos and folders of photos with their labels.

    Each SOURCE is a photo, a folder, a zip, a table of paths (.csv, .jsonl, .parquet) or hf://datasets/ORG/NAME, whose
    photos are all classified. All but the last may also be at an address: s3://, gs://, az://, hf://, https://. The
    answers are printed, or with --out written to a file, one row per photo.

    Exit status 1: done, but some photos could not be read, whose rows say why; or there were no photos.
    """
    from handful.service.artifact.store import Store
    from handful.service.classify.given import GivenPhotos
    from handful.service.classify.local import RowsFrom, RowsFromHere, classify_in_memory, classify_sources
    from handful.service.classify.remote_out import deliver, local_out
    from handful.service.classify.result_files import summarised
    from handful.service.classify.shards import Shard

    shard = Shard.parse(part) if part else None
    out = local_out(target)
    _check_classify_out(out, resume=resume, excel=excel, shard=shard is not None)
    _check_engine(engine, out, actor_cpus, actor_gpus)
    photos, artifact = GivenPhotos(sources, path_column, shard), Store().resolve(model)
    started = time.monotonic()
    with working(f"Classifying {' '.join(map(str, sources))} with {_version(artifact)}.", {STARTING: 4, LOOKING: 8}):
        from handful.service.classifier import Classifier

        next_stage(LOADING_MODEL)
        classifier = Classifier.load(artifact)
        count, of_all_shards = photos.count()
        for words in photos.read_as:
            tell(words)
        if not (tta or engine == "ray"):
            classifier.choose_fastest_for(of_all_shards)
        if out is not None:
            classifier.network.make_even()
        computed: RowsFrom = RowsFromHere(classifier, photos, tta=tta)
        if engine == "ray" and out is not None:
            from handful.service.classify.on_ray import RaySettings, RowsFromRay

            actor = RaySettings(actor_cpus, actor_gpus)
            computed = RowsFromRay(classifier, artifact, photos, out, actor, total=of_all_shards, tta=tta)
        with progress_bar(LOOKING, count) as progress:
            if out is None:
                rows = classify_in_memory(classifier, photos, tta=tta, progress=progress)
                summary = summarised(rows)
            else:
                rows = []
                summary = classify_sources(
                    classifier,
                    photos,
                    out,
                    resume=resume,
                    tta=tta,
                    excel=excel,
                    progress=progress,
                    rows_from=computed,
                )
            deliver(out, target)
    seconds = time.monotonic() - started
    result = {
        "model": classifier.card.model,
        "tta": tta,
        "engine": computed.engine,
        "images": summary.images,
        "failed": summary.failed,
        "unknown": summary.unknown,
        "per_label": {label: summary.per_label.get(label, 0) for label in classifier.labels},
        "seconds": round(seconds, 3),
        "images_per_second": round((summary.images - summary.resumed) / seconds, 1) if seconds else 0.0,
        "left_out": dict(photos.left_out.most_common()),
        "formulas": 0 if excel or out is None or out.suffix.lower() != ".csv" else summary.formulas,
        **({"rows": rows} if out is None else {"out": target}),
    }
    print_result(result, classify_text(result, photos.folder or Path()), as_json=as_json)
    if summary.failed or not summary.images:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _check_classify_out(out: Path | None, *, resume: bool, excel: bool, shard: bool) -> None:
    from handful.service.classify.result_files import ENDINGS

    if out is not None:
        check_out(out, ENDINGS)
    elif resume:
        raise UsageError("--resume continues a file of rows; add --out FILE, the file that was begun.")
    ending, got = out and out.suffix.lower(), f"--out {out}" if out else "no --out"
    if excel and ending != ".csv":
        raise UsageError(f"--excel is for a .csv file; got {got}.")
    if shard and ending != ".parquet":
        raise UsageError(f"--shard is for a .parquet file, which `handful merge` reads; got {got}.")


def _check_engine(engine: str, out: Path | None, cpus: float | None, gpus: float | None) -> None:
    from importlib.util import find_spec

    if engine == "local":
        if cpus is not None or gpus is not None:
            flag = "--actor-cpus" if cpus is not None else "--actor-gpus"
            raise UsageError(f"{flag} is for --engine ray; got --engine local.")
        return
    if find_spec("ray") is None:
        raise UsageError('--engine ray needs `pip install "handful[ray]"`.')
    if out is None:
        raise UsageError("--engine ray writes a file of rows; add --out FILE.")


@click.command()
@click.argument("parts", metavar="PART...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .csv, .jsonl or .parquet file.")
@json_option
def merge(*, parts: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Join the files of all shards of `classify --shard I/N`.

    Each PART is the .parquet file of one shard. A missing part, one that is there twice, and one of another run are
    refused. The rows are in the order in which one process writes those of a folder.

    Exit status 1: done, but some photos could not be read, whose rows say why.
    """
    from handful.service.classify.merging import merge_parts

    merged = merge_parts(parts, out)
    summary = merged.summary
    result = {
        "model": merged.model,
        "parts": len(parts),
        "engines": list(merged.engines),
        "images": summary.images,
        "failed": summary.failed,
        "unknown": summary.unknown,
        "per_label": {label: summary.per_label.get(label, 0) for label in merged.labels},
        "out": str(out),
    }
    print_result(result, merge_text(result), as_json=as_json)
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

    A newly promoted version is loaded without a restart; with --model NAME:VERSION that version is served for ever.
    Settings are environment variables, HANDFUL_...; an address that other machines can reach needs HANDFUL_API_KEY.
    """
    from handful.service.artifact.store import Store

    store = Store()
    if model or (not os.environ.get("HANDFUL_MODEL") and store.names()):  # else it waits for the first model
        artifact = store.resolve(model or os.environ.get("HANDFUL_NAME") or None)
        os.environ["HANDFUL_NAME"] = artifact.parent.name
        if model and ":" in model:
            os.environ["HANDFUL_MODEL"] = str(artifact)
    os.environ["BENTOML_DO_NOT_TRACK"] = "true"

    from handful.service.terminal.serving import announce, check_address, check_bentoml_home, starting_words

    has_model = bool(os.environ.get("HANDFUL_MODEL") or store.names())
    click.echo(starting_words(host, port, None if has_model else store.models), err=True)

    from handful.service.settings import ANNOUNCED, Settings

    settings = Settings.from_environ()
    check_address(host, port, has_key=settings.api_key is not None)
    check_bentoml_home()
    os.environ[ANNOUNCED] = "1"
    announce(host, port, has_key=settings.api_key is not None)

    from handful.service.app import serve_http

    serve_http(host, port)


commands: dict[str, click.Command] = {
    "classify": classify,
    "merge": merge,
    "explain": explain,
    "models": models,
    "serve": serve,
}
