"""classify, explain, serve: the commands that answer.

This module and `training/cli.py` import nothing heavy: a command loads torch when it runs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click
from handful.service.models.commands import models
from handful.service.terminal.output import FOUND, answer, json_option, model_option, tta_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .csv, .jsonl or .parquet file.")
@model_option
@click.option("--resume", is_flag=True, help="Go on where a run that was cut off has stopped.")
@tta_option
@json_option
def classify(*, folder: Path, out: Path, model: str | None, resume: bool, tta: bool, as_json: bool) -> None:
    """Classify every image below FOLDER into a file, one row an image.

    Exit status 1: done, but some files could not be read; their rows say why.
    """
    from handful.service.artifact.image_files import images
    from handful.service.artifact.store import Store
    from handful.service.classifier import Classifier
    from handful.service.classify.local import check_folder, check_out, classify_folder
    from handful.service.terminal.progress import progress_bar

    check_out(out)
    check_folder(folder)
    classifier = Classifier.load(Store().resolve(model))
    started = time.monotonic()
    count = sum(1 for _ in images(folder))
    if not tta:
        classifier.expect(count)
    with progress_bar("classify", count) as progress:
        summary = classify_folder(classifier, folder, out, resume=resume, tta=tta, progress=progress)
    seconds = time.monotonic() - started
    fresh = summary.images - summary.resumed
    result = {
        "model": classifier.card.model,
        "tta": tta,
        "engine": classifier.network.engine.words,
        "images": summary.images,
        "failed": summary.failed,
        "unknown": summary.unknown,
        "seconds": round(seconds, 3),
        "images_per_second": round(fresh / seconds, 1) if seconds else 0.0,
        "out": str(out),
    }
    words = (
        f"{summary.images} images with {classifier.card.model}: {summary.unknown} unknown, {summary.failed} failed;"
        f" {result['images_per_second']} a second; rows in {out}"
    )
    answer(result, words, as_json=as_json)
    if summary.failed:
        raise click.exceptions.Exit(FOUND)


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .png file.")
@model_option
@click.option("--shift", is_flag=True, help="Also measure how firm the answer is when the photo is moved or cropped.")
@json_option
def explain(*, image: Path, out: Path, model: str | None, shift: bool, as_json: bool) -> None:
    """Draw where the network looked in IMAGE, and what its layers see."""
    from handful.service.artifact.store import Store
    from handful.service.classifier import Classifier
    from handful.service.explain.explanation import check_out, explain_image

    check_out(out)
    classifier = Classifier.load(Store().resolve(model))
    result = explain_image(classifier, image, out, shift=shift)
    answer(result, _explain_words(result), as_json=as_json)


def _explain_words(result: dict[str, Any]) -> str:
    best = result["predictions"][0]
    lines = [
        f"{result['label'] or 'unknown'}, likeliest {best['label']}: {best['probability']:.1%} ({result['model']})",
        f"picture: {result['out']}",
    ]
    if "shift" in result:
        found = result["shift"]
        lines.insert(
            1,
            f"the same label for {found['same_label_share']:.0%} of {found['photos']} changed photos;"
            f" lowest probability {found['lowest_probability']:.1%}",
        )
    return "\n".join(lines)


@click.command()
@click.option("--name", metavar="NAME", help="The model whose champion is served; default: the only name there is.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def serve(*, name: str | None, host: str, port: int) -> None:
    """Answer over HTTP, with a web page to try it; a newly promoted version is taken up while it runs.

    Settings are environment variables, HANDFUL_...; an address other machines can reach needs HANDFUL_API_KEY.
    """
    from handful.service.http.auth import check_address
    from handful.service.settings import Settings

    os.environ["BENTOML_DO_NOT_TRACK"] = "true"
    if name:
        os.environ["HANDFUL_NAME"] = name
    settings = Settings.from_environ()
    check_address(host, port, has_key=settings.api_key is not None)

    from handful.service.artifact.store import Store

    if Store().names():  # without any, the service waits for the first one
        Store().resolve(settings.name)

    from handful.service.app import serve as serve_http

    serve_http(host, port)


commands: dict[str, click.Command] = {"classify": classify, "explain": explain, "models": models, "serve": serve}
