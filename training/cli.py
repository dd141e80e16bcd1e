"""The commands of handful.training: demo, sample, check, train, retrain, evaluate, compare.

This module imports nothing heavy: a command loads torch when it runs, after its checks and first words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from handful.service.terminal.output import EXIT_PROBLEMS, json_option, model_option, print_result, tta_option
from handful.service.terminal.progress import working
from handful.training.ladder.command import ladder
from handful.training.options import seed_option, settings_options
from handful.training.settings import RetrainSettings, TrainSettings
from handful.training.terminal import (
    check_stages,
    check_text,
    evaluate_stages,
    evaluate_text,
    retrain_stages,
    retrain_text,
    sample_text,
    train_stages,
    train_text,
    warn_if_frozen,
)

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
@json_option
def check(*, data: Path, backbone: str, as_json: bool) -> None:
    """Report what is wrong with a labelled folder, file by file.

    DATA holds one folder of photos per label. Exit status 1: something is wrong.
    """
    from handful.training.checks import check_backbone, check_labelled_folder

    check_labelled_folder(data)
    with working(f"Checking the photos in {data}.", check_stages()):
        check_backbone(backbone)
        from handful.training.photos.sources import read_folder

        read_folder(data)  # says at once that there are no labels
        from handful.training.train import inspect_folder

        inspected = inspect_folder(data, backbone)
    result = {
        "images": inspected.found,
        "usable": len(inspected.images),
        "per_label": inspected.per_label,
        "other": len(inspected.other),
        "problems": [vars(problem) for problem in inspected.problems],
    }
    print_result(result, check_text(result, inspected.problems, data), as_json=as_json)
    if inspected.problems:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.command()
@data_argument
@settings_options(TrainSettings)
@json_option
def train(*, data: Path, settings: TrainSettings, as_json: bool) -> None:
    """Learn a labelled folder, measure the result and keep it.

    DATA holds one folder of photos per label. The new version is cross-validated, calibrated and stored with a report.
    A folder other/ holds photos of no label, which are answered with unknown.

    Exit status 1: done, but some files were left out, which are listed, or it is no better than guessing.
    """
    from handful.service.artifact.store import check_name, name_from_folder
    from handful.training.checks import check_backbone, check_labelled_folder, check_other

    check_labelled_folder(data)
    name = check_name(settings.name) if settings.name else name_from_folder(data)
    with working(f"Learning from the photos in {data}; the model is called {name}.", train_stages(settings)):
        check_backbone(settings.backbone)
        check_other(settings.other)
        from handful.training.photos.sources import read_folder

        read_folder(data)  # says at once that there are no labels
        from handful.training.finetune.distributed import started_rank
        from handful.training.train import follow_train, train_folder

        if started_rank():
            follow_train(data, settings)
            return
        result, problems = train_folder(data, settings)
    warn_if_frozen(result)
    print_result(result, train_text(result, problems, data, _champion(result)), as_json=as_json)
    if result["images"]["skipped"] or _guesses(result):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.command()
@click.argument("new", required=False, type=click.Path(path_type=Path))
@settings_options(RetrainSettings)
@json_option
def retrain(*, new: Path | None, settings: RetrainSettings, as_json: bool) -> None:
    """Teach a model more photos; the old ones are not needed.

    NEW holds one folder of photos per label. They are learned on top of what the champion (the version in use) knows. A
    photo that is known under another label is relabelled. A folder other/ holds photos of no label. NEW may be missing
    where --other, --drop, --rename or --finetune is given.

    Exit status 1: done, but some files were left out, the new version is no better than guessing, or it did not become
    champion (which --promote never asks for). The output says which.
    """
    from handful.training.checks import check_retrain

    path = check_retrain(new, settings)
    photos = f"the photos in {new}" if new else "other labels"
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
@tta_option
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the report goes; default: reports/ in HANDFUL_HOME.",
)
@json_option
def evaluate(*, data: Path, model: str | None, tta: bool, report: Path | None, as_json: bool) -> None:
    """Measure a model on labelled photos that it has not seen.

    DATA holds one folder of photos per label. Exit status 1: done, but some files were left out; they are listed.
    """
    from handful.service.artifact.store import Store
    from handful.training.checks import check_labelled_folder, check_report

    check_labelled_folder(data)
    store = Store()
    path = store.resolve(model)
    if report:
        check_report(report, store.models)
    with working(f"Measuring {path.parent.name}:{path.name} on the photos in {data}.", evaluate_stages()):
        from handful.training.evaluate import evaluate_folder

        result, problems = evaluate_folder(data, model, report, tta=tta)
    print_result(result, evaluate_text(result, problems, data), as_json=as_json)
    if problems:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


commands: dict[str, click.Command] = {
    "demo": demo,
    "sample": sample,
    "check": check,
    "train": train,
    "retrain": retrain,
    "evaluate": evaluate,
    "compare": ladder,
}
