"""demo, sample, check, train, evaluate: the commands that need what learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from service.artifact.console import FOUND, answer, json_option, model_option

if TYPE_CHECKING:
    from training.dataset import Problem

DEFAULT_BACKBONE = "timm/resnet34.tv_in1k"
backbone_option = click.option(
    "--backbone",
    metavar="REF",
    default=DEFAULT_BACKBONE,
    show_default=True,
    help="ORG/NAME[@REVISION] on the Hugging Face Hub, a local folder, or builtin.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
Head = Literal["auto", "linear", "hidden"]
data_argument = click.argument("data", type=click.Path(path_type=Path))
SHOWN = 20  # problems that a person is shown after training; --json and `check` list all


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-label", type=click.IntRange(min=1), default=80, show_default=True)
@seed_option
@json_option
def sample(*, out: Path, per_label: int, seed: int, as_json: bool) -> None:
    """Write a folder of generated handbag and shoe pictures to OUT."""
    from service.artifact.progress import progress_bar
    from training.sample.shots import write_sample

    with progress_bar("draw", 2 * per_label) as progress:
        write_sample(out, per_label, seed, progress)
    words = f"{per_label} handbags and {per_label} shoes in {out}"
    answer({"path": str(out), "per_label": per_label}, words, as_json=as_json)


@click.command()
@data_argument
@click.option(
    "--backbone", metavar="REF", default="builtin", show_default=True, help="What near-duplicates are seen by."
)
@json_option
def check(*, data: Path, backbone: str, as_json: bool) -> None:
    """Say what is wrong with the labelled folder DATA before training on it.

    Exit status 1: something was found.
    """
    from training.train import check_folder

    inspected = check_folder(data, backbone)
    problems = inspected.problems
    result = {
        "images": inspected.found,
        "usable": len(inspected.images),
        "per_label": inspected.per_label,
        "problems": [vars(problem) for problem in problems],
    }
    counts = ", ".join(f"{label} {count}" for label, count in inspected.per_label.items()) or "none"
    lines = [f"{inspected.found} files, usable: {counts}; {len(problems)} problems", *_lines(problems)]
    answer(result, "\n".join(lines), as_json=as_json)
    if problems:
        raise click.exceptions.Exit(FOUND)


def _lines(problems: tuple[Problem, ...]) -> list[str]:
    return [f"  {problem.path}: {problem.kind}: {problem.detail}" for problem in problems]


@click.command()
@data_argument
@click.option("--name", help="The model's name; default: the folder's name.")
@backbone_option
@click.option("--head", type=click.Choice(["auto", "linear", "hidden"]), default="auto", show_default=True)
@seed_option
@json_option
def train(*, data: Path, name: str | None, backbone: str, head: Head, seed: int, as_json: bool) -> None:
    """Train on the labelled folder DATA, cross-validate, calibrate and export a new version.

    Exit status 1: done, but some files were left out; they are listed.
    """
    from training.train import TrainSettings, train_folder

    result, problems = train_folder(data, TrainSettings(name=name, backbone=backbone, head=head, seed=seed))
    answer(result, _train_words(result, problems), as_json=as_json)
    if result["images"]["skipped"]:
        raise click.exceptions.Exit(FOUND)


def _train_words(result: dict[str, Any], problems: tuple[Problem, ...]) -> str:
    images, cv, seconds = result["images"], result["cv"], result["seconds"]
    low, high = cv["accuracy_ci95"]
    counts = ", ".join(f"{label} {count}" for label, count in images["per_label"].items())
    lines = [
        f"{result['model']}: {images['used']} images used ({counts}), {images['skipped']} skipped",
        *_lines(problems[:SHOWN]),
        *([f"  and {len(problems) - SHOWN} more; `handful check` lists all"] if len(problems) > SHOWN else []),
        f"accuracy {cv['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}) in {cv['folds']} folds,"
        f" calibration error {cv['ece']:.3f}, {cv['unknown_rate']:.1%} refused as unknown",
        f"{result['head']} head; {seconds['total']:.1f} s, of which embedding {seconds['embed']:.1f}"
        f" and fitting {seconds['fit']:.1f}",
        *(_held_out_line(part, metrics) for part, metrics in result.get("held_out", {}).items()),
        f"artifact: {result['path']}",
        f"report: {result['report']}",
    ]
    return "\n".join(lines)


def _held_out_line(part: str, metrics: dict[str, Any]) -> str:
    low, high = metrics["accuracy_ci95"]
    return f"on {part}/: accuracy {metrics['accuracy']:.1%} ({low:.1%} to {high:.1%}), {metrics['images']} images"


@click.command()
@data_argument
@model_option
@json_option
def evaluate(*, data: Path, model: str | None, as_json: bool) -> None:
    """Measure a model on the labelled folder DATA, which it should not have seen.

    Exit status 1: done, but some files were left out; they are listed.
    """
    from training.evaluate import evaluate_folder

    result, problems = evaluate_folder(data, model)
    low, high = result["accuracy_ci95"]
    lines = [
        f"{result['model']} on {result['images']} images: accuracy {result['accuracy']:.1%}"
        f" (95 % interval {low:.1%} to {high:.1%}), macro F1 {result['macro_f1']:.3f},"
        f" log loss {result['log_loss']:.3f}, calibration error {result['ece']:.3f},"
        f" {result['unknown_rate']:.1%} refused as unknown",
        *_lines(problems),
    ]
    answer(result, "\n".join(lines), as_json=as_json)
    if problems:
        raise click.exceptions.Exit(FOUND)


@click.command()
@click.option("--no-serve", is_flag=True, help="End after classifying.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where to work."
)
@json_option
def demo(*, no_serve: bool, folder: Path, as_json: bool) -> None:
    """The whole story, offline, on generated photos: sample, check, train, classify, then serve."""
    from training.demo import run_demo, serve_demo

    result = run_demo(folder)
    words = f"{_train_words(result, ())}\npredictions: {result['classified']['out']}"
    answer(result, words, as_json=as_json)
    if not no_serve:
        raise click.exceptions.Exit(serve_demo(folder))


commands: dict[str, click.Command] = {
    "demo": demo,
    "sample": sample,
    "check": check,
    "train": train,
    "evaluate": evaluate,
}
