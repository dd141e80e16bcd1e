"""The commands of service: classify, explain, models, serve.

This module and `training/cli.py` import nothing heavy: torch is loaded when a command runs, after its checks.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click
from handful.service.models.commands import models
from handful.service.terminal.output import (
    EXIT_PROBLEMS,
    check_out,
    json_option,
    model_option,
    print_result,
    tta_option,
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .csv, .jsonl or .parquet file.")
@model_option
@click.option("--resume", is_flag=True, help="Continue a run that was interrupted.")
@tta_option
@json_option
def classify(*, folder: Path, out: Path, model: str | None, resume: bool, tta: bool, as_json: bool) -> None:
    """Classify every image below FOLDER into a file, one row per image.

    Exit status 1: done, but some images could not be read; their rows say why.
    """
    from handful.service.classify.local import check_images_folder, classify_folder
    from handful.service.classify.result_files import ENDINGS

    check_out(out, ENDINGS)
    check_images_folder(folder)

    from handful.service.artifact.image_files import images
    from handful.service.artifact.store import Store
    from handful.service.classifier import Classifier
    from handful.service.terminal.progress import progress_bar

    classifier = Classifier.load(Store().resolve(model))
    started = time.monotonic()
    count = sum(1 for _ in images(folder))
    if not tta:
        classifier.choose_engine_for(count)
    with progress_bar("classify", count) as progress:
        summary = classify_folder(classifier, folder, out, resume=resume, tta=tta, progress=progress)
    seconds = time.monotonic() - started
    classified = summary.images - summary.resumed
    result = {
        "model": classifier.card.model,
        "tta": tta,
        "engine": classifier.network.engine.label,
        "images": summary.images,
        "failed": summary.failed,
        "unknown": summary.unknown,
        "seconds": round(seconds, 3),
        "images_per_second": round(classified / seconds, 1) if seconds else 0.0,
        "out": str(out),
    }
    text = (
        f"{summary.images} images with {classifier.card.model}: {summary.unknown} unknown, {summary.failed} failed;"
        f" {result['images_per_second']} images per second; rows in {out}"
    )
    print_result(result, text, as_json=as_json)
    if summary.failed:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .png file.")
@model_option
@click.option(
    "--shift", is_flag=True, help="Also measure how stable the answer is: the photo moved, resized, cropped, mirrored."
)
@json_option
def explain(*, image: Path, out: Path, model: str | None, shift: bool, as_json: bool) -> None:
    """Draw which parts of IMAGE decided the answer, and what the network's layers respond to."""
    check_out(out, [".png"])

    from handful.service.artifact.store import Store
    from handful.service.classifier import Classifier
    from handful.service.explain.picture import explain_image

    classifier = Classifier.load(Store().resolve(model))
    result = explain_image(classifier, image, out, shift=shift)
    print_result(result, _explain_text(result), as_json=as_json)


def _explain_text(result: dict[str, Any]) -> str:
    best = result["predictions"][0]
    lines = [
        f"{result['label'] or 'unknown'}; most probable label: {best['label']}, {best['probability']:.1%}"
        f" ({result['model']})",
        f"picture: {result['out']}",
    ]
    if "shift" in result:
        shift = result["shift"]
        lines.insert(
            1,
            f"the same label for {shift['same_label_share']:.0%} of {shift['photos']} changed photos;"
            f" lowest probability {shift['lowest_probability']:.1%}",
        )
    return "\n".join(lines)


@click.command()
@click.option(
    "--name",
    metavar="NAME",
    help="The model whose champion (the version in use) is served; default: the only model, if there is just one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def serve(*, name: str | None, host: str, port: int) -> None:
    """Answer over HTTP, with a web page to try it; a newly promoted version is loaded without a restart.

    Settings are environment variables, HANDFUL_...; an address that other machines can reach needs HANDFUL_API_KEY.
    """
    from handful.service.http.auth import check_address
    from handful.service.settings import Settings

    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    if name:
        os.environ["HANDFUL_NAME"] = name
    settings = Settings.from_environ()
    check_address(host, port, has_key=settings.api_key is not None)

    from handful.service.artifact.store import Store

    if Store().names():  # without a model, the service waits for the first one
        Store().resolve(settings.name)

    from handful.service.app import serve_http

    serve_http(host, port)


commands: dict[str, click.Command] = {"classify": classify, "explain": explain, "models": models, "serve": serve}
