"""The commands of handful.training: demo, sample, check, train, retrain, evaluate, compare.

This module imports nothing heavy: a command loads torch when it runs.
"""

from __future__ import annotations

from pathlib import Path

import click
from handful.service.terminal.output import EXIT_PROBLEMS, json_option, model_option, print_result, tta_option
from handful.training.ladder.command import ladder
from handful.training.options import seed_option, settings_options
from handful.training.settings import RetrainSettings, TrainSettings
from handful.training.terminal import problem_lines, retrain_text, train_text, warn_if_frozen

data_argument = click.argument("data", type=click.Path(path_type=Path))


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-label", type=click.IntRange(min=1), default=80, show_default=True, help="Pictures per label.")
@seed_option
@json_option
def sample(*, out: Path, per_label: int, seed: int, as_json: bool) -> None:
    """Write a folder of generated handbag and shoe pictures to OUT."""
    from handful.service.terminal.progress import progress_bar
    from handful.training.sample.shots import write_sample

    with progress_bar("draw", 2 * per_label) as progress:
        write_sample(out, per_label, seed, progress)
    text = f"{per_label} handbags and {per_label} shoes in {out}"
    print_result({"path": str(out), "per_label": per_label}, text, as_json=as_json)


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
    """Report the problems of the labelled folder DATA before training on it.

    Exit status 1: there are some.
    """
    from handful.training.train import inspect_folder

    inspected = inspect_folder(data, backbone)
    problems = inspected.problems
    result = {
        "images": inspected.found,
        "usable": len(inspected.images),
        "per_label": inspected.per_label,
        "problems": [vars(problem) for problem in problems],
    }
    counts = ", ".join(f"{label} {count}" for label, count in inspected.per_label.items()) or "none"
    lines = [f"{inspected.found} files, usable: {counts}; {len(problems)} problems", *problem_lines(problems)]
    print_result(result, "\n".join(lines), as_json=as_json)
    if problems:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.command()
@data_argument
@settings_options(TrainSettings)
@json_option
def train(*, data: Path, settings: TrainSettings, as_json: bool) -> None:
    """Train on the labelled folder DATA, cross-validate, calibrate and export a new version.

    Exit status 1: done, but some files were left out; they are listed.
    """
    from handful.training.finetune.distributed import started_rank
    from handful.training.train import follow_train, train_folder

    if started_rank():
        follow_train(data, settings)
        return
    result, problems = train_folder(data, settings)
    warn_if_frozen(result)
    print_result(result, train_text(result, problems), as_json=as_json)
    if result["images"]["skipped"]:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.command()
@click.argument("new", required=False, type=click.Path(path_type=Path))
@settings_options(RetrainSettings)
@json_option
def retrain(*, new: Path | None, settings: RetrainSettings, as_json: bool) -> None:
    """Learn the labelled folder NEW on top of what the champion knows; the old photos are not needed.

    A photo that is known under another label is relabelled. NEW may be missing where --drop, --rename or --finetune is
    given.

    Exit status 1: done, but some files were left out, or the new version did not become champion (which --promote never
    asks for). The output says which.
    """
    from handful.training.finetune.distributed import started_rank
    from handful.training.retraining.command import follow_retrain, retrain_folder

    if started_rank():
        follow_retrain(new, settings)
        return
    result, problems = retrain_folder(new, settings)
    warn_if_frozen(result)
    print_result(result, retrain_text(result, problems), as_json=as_json)
    if result["images"]["skipped"] or not (result["promoted"] or settings.promote == "never"):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


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
    """Measure a model on the labelled folder DATA, whose photos it has not seen.

    Exit status 1: done, but some files were left out; they are listed.
    """
    from handful.training.evaluate import evaluate_folder

    result, problems = evaluate_folder(data, model, report, tta=tta)
    low, high = result["accuracy_ci95"]
    lines = [
        f"{result['model']} on {result['images']} images: accuracy {result['accuracy']:.1%}"
        f" (95 % interval {low:.1%} to {high:.1%}), macro F1 {result['macro_f1']:.3f},"
        f" log loss {result['log_loss']:.3f}, calibration error {result['ece']:.3f},"
        f" {result['unknown_rate']:.1%} refused as unknown",
        *([_foreign_line(result["foreign"])] if result["foreign"]["images"] else []),
        *problem_lines(problems),
        f"report: {result['report']}",
    ]
    print_result(result, "\n".join(lines), as_json=as_json)
    if problems:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _foreign_line(foreign: dict[str, int]) -> str:
    return f"{foreign['refused']} of {foreign['images']} images under other labels were refused as unknown"


@click.command()
@click.option("--no-serve", is_flag=True, help="End after classifying.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where to work."
)
@json_option
def demo(*, no_serve: bool, folder: Path, as_json: bool) -> None:
    """Run all steps offline, on generated photos: sample, check, train, classify, then serve."""
    from handful.training.demo import run_demo, serve_demo

    result = run_demo(folder)
    text = f"{train_text(result, ())}\npredictions: {result['classified']['out']}"
    print_result(result, text, as_json=as_json)
    if not no_serve:
        raise click.exceptions.Exit(serve_demo(folder))


commands: dict[str, click.Command] = {
    "demo": demo,
    "sample": sample,
    "check": check,
    "train": train,
    "retrain": retrain,
    "evaluate": evaluate,
    "compare": ladder,
}
