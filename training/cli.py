"""The commands of handful.training: demo, sample, check, train, retrain, evaluate, compare, suggest.

This module imports nothing heavy: a command loads torch when it runs, after its checks and first words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from handful.service.terminal.output import (
    EXIT_PROBLEMS,
    check_one_view,
    check_onnx,
    json_option,
    limit_options,
    model_option,
    onnx_option,
    print_result,
    tta_option,
)
from handful.service.terminal.progress import STARTING, working
from handful.training.ladder.command import ladder
from handful.training.options import column_options, seed_option, settings_options
from handful.training.settings import RetrainSettings, SourceSettings, TrainSettings
from handful.training.suggest.command import suggest
from handful.training.terminal.stages import check_stages, evaluate_stages, retrain_stages, train_stages
from handful.training.terminal.texts import (
    check_text,
    evaluate_text,
    retrain_text,
    sample_text,
    train_text,
    warn_if_frozen,
)

if TYPE_CHECKING:
    from handful.service.artifact.sources.columns import ColumnNames

data_argument = click.argument("data", type=click.Path(path_type=Path))


@click.command()
@click.option("--no-serve", is_flag=True, help="End after classifying.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where to work."
)
@json_option
def demo(*, no_serve: bool, folder: Path, as_json: bool) -> None:
    """Show every step on generated photos, without a network.

    The steps are sample, check, train, classify and serve; each is printed as the command that a person would type.
    """
    from handful.training.sample.demo import photos_of, run_demo, serve_demo

    result = run_demo(folder)
    text = f"{train_text(result, (), photos_of(folder), _champion(result))}\n\nanswers: {result['classified']['out']}"
    print_result(result, text, as_json=as_json)
    if not no_serve:
        raise click.exceptions.Exit(serve_demo(folder))


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-label", type=click.IntRange(min=1), default=80, show_default=True, help="Pictures per label.")
@seed_option
@json_option
def sample(*, out: Path, per_label: int, seed: int, as_json: bool) -> None:
    """Write a folder of generated handbag and shoe pictures.

    OUT is a new or empty folder.
    """
    with working(f"Drawing {per_label} handbags and {per_label} shoes into {out}.", {"drawing": 1}):
        from handful.service.terminal.progress import progress_bar
        from handful.training.sample.shots import write_sample

        with progress_bar("drawing", 2 * per_label) as progress:
            write_sample(out, per_label, seed, progress)
    print_result({"path": str(out), "per_label": per_label}, sample_text(out, per_label), as_json=as_json)


@click.command()
@data_argument
@click.option(
    "--backbone",
    metavar="REF",
    default="builtin",
    show_default=True,
    help="The network whose embeddings show near-duplicates.",
)
@column_options
@limit_options
@json_option
def check(*, data: Path, backbone: str, path_column: str | None, label_column: str | None, as_json: bool) -> None:
    """Report what is wrong with labelled photos, file by file.

    DATA holds one folder of photos per label, or is a zip of one, a table of paths and labels, an export of Label
    Studio or Roboflow, or hf://datasets/ORG/NAME. Exit status 1: something is wrong.
    """
    from handful.training.checks import check_backbone, check_labelled_folder, source_text

    check_labelled_folder(data)
    with working(f"Checking the photos in {source_text(data)}.", check_stages()):
        check_backbone(backbone)
        columns = SourceSettings(path_column=path_column, label_column=label_column).columns
        _first_look(data, columns)
        from handful.training.photos.cues import cue_results
        from handful.training.train import inspect_folder

        inspected = inspect_folder(data, backbone, columns)
    result = {
        "images": inspected.found,
        "usable": len(inspected.images),
        "per_label": inspected.per_label,
        "cues": [each.model_dump(mode="json") for each in cue_results(inspected, seed=0)],
        "other": len(inspected.other),
        "problems": [vars(problem) for problem in inspected.problems],
    }
    print_result(result, check_text(result, inspected.problems, data), as_json=as_json)
    if inspected.problems:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.command()
@data_argument
@settings_options(TrainSettings)
@limit_options
@json_option
def train(*, data: Path, settings: TrainSettings, as_json: bool) -> None:
    """Learn labelled photos, measure the result and keep it.

    DATA holds one folder of photos per label, or is a zip of one, a table of paths and labels, an export of Label
    Studio or Roboflow, or hf://datasets/ORG/NAME. A folder other/ holds photos of no label, which are answered with
    unknown. The new version is cross-validated, calibrated and stored with a report.

    Exit status 1: done, but some files were left out, which are listed, or it is no better than guessing.
    """
    from handful.service.artifact.names import check_name, name_from_folder
    from handful.training.checks import (
        backbones_to_try,
        check_backbones,
        check_labelled_folder,
        check_other,
        source_text,
        trying,
    )

    check_labelled_folder(data)
    name = check_name(settings.name) if settings.name else name_from_folder(data)
    tried = {trying(ref): 8.0 for ref in backbones_to_try(settings.backbone)}
    stages = {STARTING: 4.0, **tried, **train_stages(settings)}
    with working(f"Learning from the photos in {source_text(data)}; the model is called {name}.", stages):
        check_backbones(settings.backbone)
        check_other(settings.other)
        _first_look(data, settings.columns)
        from handful.training.finetune.distributed import started_rank
        from handful.training.train import follow_train, train_folder

        if started_rank():
            follow_train(data, settings)
            return
        result, problems = train_folder(data, settings)
    warn_if_frozen(result)
    from handful.training.ladder.backbone_table import backbone_lines

    text = "\n".join([*backbone_lines(result.get("backbones")), train_text(result, problems, data, _champion(result))])
    print_result(result, text, as_json=as_json)
    if result["images"]["skipped"] or _guesses(result):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.command()
@click.argument("new", required=False, type=click.Path(path_type=Path))
@settings_options(RetrainSettings)
@limit_options
@json_option
def retrain(*, new: Path | None, settings: RetrainSettings, as_json: bool) -> None:
    """Teach a model more photos; the old ones are not needed.

    NEW holds one folder of photos per label, or is another source as for `train`. They are learned on top of what the
    champion (the version in use) knows. A photo that is known under another label is relabelled. A folder other/ holds
    photos of no label. NEW may be missing where --other, --drop, --rename or --finetune is given.

    Exit status 1: done, but some files were left out, the new version is no better than guessing, or it did not become
    champion (which --promote never asks for). The output says which.
    """
    from handful.training.checks import check_retrain, source_text

    path = check_retrain(new, settings)
    photos = f"the photos in {source_text(new)}" if new else "other labels"
    with working(f"Teaching {path.parent.name}:{path.name} {photos}.", retrain_stages(settings)):
        from handful.training.finetune.distributed import started_rank
        from handful.training.retraining.command import follow_retrain, retrain_folder

        if started_rank():
            follow_retrain(new, settings)
            return
        result, problems = retrain_folder(new, settings)
    warn_if_frozen(result)
    print_result(result, retrain_text(result, problems, new, _champion(result)), as_json=as_json)
    if result["images"]["skipped"] or not (result["promoted"] or settings.promote == "never") or _guesses(result):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _first_look(data: Path, columns: ColumnNames) -> None:
    """Says at once what the source is read as, and that there are no labels."""
    from handful.service.terminal.progress import tell
    from handful.training.photos.sources import read_folder

    for words in read_folder(data, columns).first_words:
        tell(words)


def _champion(result: dict[str, Any]) -> str:
    """NAME:VERSION of the version in use."""
    from handful.service.artifact.store import Store

    name = result["model"].rpartition(":")[0]
    return f"{name}:{Store().served(name)}"


def _guesses(result: dict[str, Any]) -> bool:
    """Whether the result's verdict is that the model is no better than guessing."""
    verdict = result.get("verdict") or {}
    return verdict.get("level") == "guessing"


@click.command()
@data_argument
@model_option
@onnx_option
@tta_option
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the report goes; default: reports/ in HANDFUL_HOME.",
)
@column_options
@limit_options
@json_option
def evaluate(
    *,
    data: Path,
    model: str | None,
    onnx: Path | None,
    tta: bool,
    report: Path | None,
    path_column: str | None,
    label_column: str | None,
    as_json: bool,
) -> None:
    """Measure a model on labelled photos that it has not seen.

    DATA holds one folder of photos per label, or is another source as for `train`. With --onnx, an exported file is
    measured and compared with the model that it was made of.

    Exit status 1: done, but some files were left out, which are listed, or the file answers otherwise than its model.
    """
    from handful.service.artifact.store import Store
    from handful.training.checks import check_labelled_folder, check_report, source_text

    check_labelled_folder(data)
    check_one_view(onnx, tta=tta)
    check_onnx(onnx, model)
    store = Store()
    path = onnx or store.resolve(model)
    if report:
        check_report(report, store.models)
    words = onnx.name if onnx else f"{path.parent.name}:{path.name}"
    with working(f"Measuring {words} on the photos in {source_text(data)}.", evaluate_stages()):
        from handful.training.evaluate import evaluate_folder

        columns = SourceSettings(path_column=path_column, label_column=label_column).columns
        result, problems = evaluate_folder(data, onnx or model, report, tta=tta, columns=columns)
    print_result(result, evaluate_text(result, problems, data), as_json=as_json)
    if problems or result.get("onnx", {}).get("labels_changed"):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


commands: dict[str, click.Command] = {
    "demo": demo,
    "sample": sample,
    "check": check,
    "train": train,
    "retrain": retrain,
    "evaluate": evaluate,
    "compare": ladder,
    "suggest": suggest,
}
