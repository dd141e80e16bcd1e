"""`handful export`: a model as one ONNX file, or as a web folder. Nothing heavy is imported before the command runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from handful.service.artifact.errors import UsageError
from handful.service.terminal.output import (
    command_line,
    json_option,
    limit_options,
    model_and_target,
    model_flag,
    next_lines,
    one_model,
    print_result,
)
from handful.service.terminal.progress import STARTING, working

WRITING = "writing and checking the file"
KINDS = ("onnx", "web", "artifact")
PRECISIONS = ("fp32", "fp16", "int8")


@click.command()
@click.argument("words", metavar="NAME[:VERSION] OUT", nargs=-1)
@model_flag(required=True)
@click.option("--to", "kind", type=click.Choice(KINDS), default="onnx", show_default=True, help="What is written.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Of the weights: fp16 halves the file, int8 quarters it where that changes at most 1 % of the answers;"
    " default: fp32, for the web fp16 where that answers the same.",
)
@click.option(
    "--photos",
    metavar="SOURCE",
    type=click.Path(path_type=Path),
    help="Photos that the file must answer as the model does; default: small pictures of the training photos.",
)
@click.option(
    "--node-modules",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="For the web: where npm has installed onnxruntime-web; default: npm fetches it into HANDFUL_HOME.",
)
@limit_options
@json_option
def export(
    *,
    words: tuple[str, ...],
    model: str | None,
    kind: str,
    precision: Any,
    photos: Path | None,
    node_modules: Path | None,
    as_json: bool,
) -> None:
    """Write a model as one file, or a web page, that answers alone.

    OUT is an .onnx file, or with --to web a new folder for any static web server. With --to artifact there is no OUT:
    the version itself gets the file, and then answers where torch is not installed. The file takes photos of any size,
    and resizes, looks, calibrates and finds the unknown ones as the model does. It is compared with the model on photos
    first, and not written where an answer differs.
    """
    from handful.service.artifact.folder import ONNX
    from handful.service.artifact.store import Store
    from handful.service.classify.given import GivenPhotos
    from handful.service.export.artifact_export import export_into_artifact
    from handful.service.export.onnx_export import check_export, export_onnx
    from handful.service.export.web_export import check_web_export, export_web

    if node_modules is not None and kind != "web":
        raise UsageError("--node-modules is for --to web; an .onnx file needs nothing of it.")
    if kind == "artifact":
        path = Store().resolve(_only_model(words, model))
        out = path / ONNX
    else:
        named, target = model_and_target(words, model, "NAME[:VERSION] OUT")
        out = Path(target)
        (check_web_export if kind == "web" else check_export)(out)
        path = Store().resolve(named)
    given = None if photos is None else GivenPhotos([photos])
    with working(f"Writing {path.parent.name}:{path.name} to {out}.", {STARTING: 4, WRITING: 12}):
        from handful.service.artifact.folder import open_artifact
        from handful.service.terminal.progress import next_stage

        next_stage(WRITING)
        checked_on = None if given is None else [(given.name(each), each) for each in given]
        if checked_on is not None and not checked_on:
            raise UsageError(f"{photos} holds no photo; the photos to check the file with are expected.")
        artifact = open_artifact(path)
        if kind == "web":
            result = export_web(artifact, out, precision, checked_on, node_modules)
        elif kind == "artifact":
            result = export_into_artifact(path, precision or "fp32", checked_on)
        else:
            result = export_onnx(artifact, out, precision or "fp32", checked_on)
    result = {"to": kind, **result}
    print_result(result, export_text(result), as_json=as_json)


def _only_model(words: tuple[str, ...], model: str | None) -> str:
    if len(words) > 1:
        raise UsageError(
            f"--to artifact writes into the store; got {words[-1]} as OUT, and NAME[:VERSION] alone is expected."
        )
    return str(one_model(words[0] if words else None, model, "NAME[:VERSION]", required=True))


def export_text(result: dict[str, Any]) -> str:
    """What was written, how far it agrees, and what to do next."""
    checked, here = result["checked"], result["engine"]
    changed = checked["labels_changed"]
    why = f" ({result['refused']} would answer differently)" if "refused" in result else ""
    lines = [
        f"{result['out']}: {result['model']}, {result['bytes'] / 1e6:.1f} MB, {result['precision']}{why}",
        f"answers as the model does in float32: {checked['photos']} photos, {changed or 'no'} label"
        f"{'' if changed == 1 else 's'} changed, probabilities within {checked['largest_difference']:.1g}",
    ]
    if here["label"].endswith(("bf16", "int8")):
        lines += [
            f"computed by torch on this machine ({here['label']}), the model rounds: {here['labels_changed']} labels"
            f" and up to {here['largest_difference']:.1g} of a probability apart from the file"
        ]
    try_it = (command_line("classify", "PHOTO", "--onnx", result["out"]), "answers from the file, without torch")
    if result["to"] == "artifact":
        try_it = (command_line("serve", "--model", result["model"]), "answers without torch where it is not installed")
    if result["to"] == "web":
        try_it = (f"cd {shlex.quote(result['out'])} && python3 -m http.server", "serves the page")
    return "\n".join([*lines, "", *next_lines(try_it)])
