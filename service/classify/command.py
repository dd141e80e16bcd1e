"""`handful classify` and `handful merge`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from handful.service.artifact.errors import UsageError
from handful.service.terminal.answers import classify_text, merge_text
from handful.service.terminal.output import (
    EXIT_PROBLEMS,
    check_one_view,
    check_onnx,
    check_out,
    json_option,
    limit_options,
    model_option,
    onnx_option,
    print_result,
    tta_option,
)
from handful.service.terminal.progress import LOADING_MODEL, LOOKING, STARTING, next_stage, progress_bar, tell, working

if TYPE_CHECKING:
    from handful.service.classifier import Classifier
    from handful.service.lean.classifier import OnnxClassifier
    from handful.service.lean.kept_classifier import KeptClassifier


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--out", "target", type=click.Path(), help="A .csv, .jsonl or .parquet file for the rows, here or at an address."
)
@model_option
@onnx_option
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
@click.option(
    "--excel",
    is_flag=True,
    help="Write the .csv for Excel: accents are shown right, and no cell is run as a formula.",
)
@tta_option
@limit_options
@json_option
def classify(
    *,
    sources: tuple[str, ...],
    target: str | None,
    model: str | None,
    onnx: Path | None,
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
    check_one_view(onnx, tta=tta)
    check_onnx(onnx, model)
    _check_engine(engine, out, onnx, actor_cpus, actor_gpus)
    photos, artifact = GivenPhotos(sources, path_column, shard), onnx or Store().resolve(model)
    started, named = time.monotonic(), onnx.name if onnx else f"{artifact.parent.name}:{artifact.name}"
    with working(f"Classifying {' '.join(map(str, sources))} with {named}.", {STARTING: 4, LOOKING: 8}):
        next_stage(LOADING_MODEL)
        count, of_all_shards = photos.count()
        for words in photos.read_as:
            tell(words)
        if engine == "ray" and out is not None:
            from handful.service.artifact.folder import open_artifact
            from handful.service.classify.on_ray import RowsFromRay
            from handful.service.classify.ray_cluster import RaySettings

            card, actor = open_artifact(artifact).card, RaySettings(actor_cpus, actor_gpus)
            computed: RowsFrom = RowsFromRay(card, artifact, photos, out, actor, total=of_all_shards, tta=tta)
        else:
            one_photo = out is None and _is_one_photo(sources)
            classifier = _classifier(artifact, of_all_shards, on_torch=tta, one_photo=one_photo, even=out is not None)
            if out is not None:
                classifier.make_even()
            computed = RowsFromHere(classifier, photos, tta=tta)
        with progress_bar(LOOKING, count) as progress:
            if out is None:
                rows = classify_in_memory(computed, progress)
                summary = summarised(rows)
            else:
                rows = []
                summary = classify_sources(computed, out, resume=resume, excel=excel, progress=progress)
            deliver(out, target)
    seconds = time.monotonic() - started
    result = {
        "model": computed.card.model,
        "tta": tta,
        "engine": computed.engine,
        "images": summary.images,
        "failed": summary.failed,
        "unknown": summary.unknown,
        "per_label": {label: summary.per_label.get(label, 0) for label in computed.labels},
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


def _check_engine(engine: str, out: Path | None, onnx: Path | None, cpus: float | None, gpus: float | None) -> None:
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
    if onnx is not None:
        raise UsageError(f"--engine ray computes with a model of the store; got --onnx {onnx}.")


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


def _classifier(
    artifact: Path, images: int, *, on_torch: bool, one_photo: bool, even: bool
) -> Classifier | OnnxClassifier | KeptClassifier:
    """For one photo from the file that the artifact carries, if it carries one; `on_torch` unless there is no torch."""
    from handful.service.lean.engines import classifier_of, fastest_classifier

    if on_torch:
        return classifier_of(artifact)
    if one_photo and artifact.is_dir():
        from handful.service.artifact.folder import has_onnx, read_card
        from handful.service.lean.classifier import OnnxClassifier
        from handful.service.lean.onnx_file import installed_runtimes

        if has_onnx(artifact, read_card(artifact)) and installed_runtimes():
            return OnnxClassifier.load(artifact)
    return fastest_classifier(artifact, images, even=even)


def _is_one_photo(sources: tuple[str, ...]) -> bool:
    from handful.service.artifact.formats.kinds import SUFFIXES

    return len(sources) == 1 and Path(sources[0]).suffix.lower() in SUFFIXES and Path(sources[0]).is_file()
