"""demo, sample, check, train, retrain, evaluate, compare: the commands that need what learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click
from handful.service.terminal.output import EXIT_PROBLEMS, json_option, model_option, print_result, tta_option
from handful.training.ladder.command import ladder
from handful.training.terminal import (
    backbone_option,
    problem_lines,
    retrain_words,
    say_frozen,
    seed_option,
    train_words,
)

Head = Literal["auto", "linear", "hidden"]
data_argument = click.argument("data", type=click.Path(path_type=Path))


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-label", type=click.IntRange(min=1), default=80, show_default=True)
@seed_option
@json_option
def sample(*, out: Path, per_label: int, seed: int, as_json: bool) -> None:
    """Write a folder of generated handbag and shoe pictures to OUT."""
    from handful.service.terminal.progress import progress_bar
    from handful.training.sample.shots import write_sample

    with progress_bar("draw", 2 * per_label) as progress:
        write_sample(out, per_label, seed, progress)
    words = f"{per_label} handbags and {per_label} shoes in {out}"
    print_result({"path": str(out), "per_label": per_label}, words, as_json=as_json)


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
    from handful.training.train import check_folder

    inspected = check_folder(data, backbone)
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
@click.option("--name", help="The model's name; default: the folder's name.")
@backbone_option
@click.option("--head", type=click.Choice(["auto", "linear", "hidden"]), default="auto", show_default=True)
@click.option(
    "--finetune", is_flag=True, help="Then train the whole network too; it is kept where that is better beyond noise."
)
@click.option("--finetune-from", metavar="LAYER", help="The same, from this layer upward, such as layer4.")
@click.option("--finetune-epochs", type=click.IntRange(min=1), metavar="N", help="At most so many epochs.")
@click.option(
    "--int8", is_flag=True, help="Compute in 8-bit integers on a CPU; kept where 1 % of the answers change at most."
)
@seed_option
@click.option(
    "--no-keep-embeddings", is_flag=True, help="Keep nothing of single photos in the artifact; retrain needs it."
)
@json_option
def train(
    *,
    data: Path,
    name: str | None,
    backbone: str,
    head: Head,
    finetune: bool,
    finetune_from: str | None,
    finetune_epochs: int | None,
    int8: bool,
    seed: int,
    no_keep_embeddings: bool,
    as_json: bool,
) -> None:
    """Train on the labelled folder DATA, cross-validate, calibrate and export a new version.

    Exit status 1: done, but some files were left out; they are listed.
    """
    from handful.training.finetune.distributed import started_rank
    from handful.training.finetune.settings import FineTuneSettings
    from handful.training.train import TrainSettings, follow_folder, train_folder

    keep = not no_keep_embeddings
    tuning = None
    if finetune or finetune_from or finetune_epochs:
        given = {"layer": finetune_from, "epochs": finetune_epochs}
        tuning = FineTuneSettings.model_validate({key: value for key, value in given.items() if value is not None})
    settings = TrainSettings(
        name=name, backbone=backbone, head=head, finetune=tuning, int8=int8, seed=seed, keep_embeddings=keep
    )
    if started_rank():
        follow_folder(data, settings)
        return
    result, problems = train_folder(data, settings)
    say_frozen(result)
    print_result(result, train_words(result, problems), as_json=as_json)
    if result["images"]["skipped"]:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


@click.command()
@click.argument("new", required=False, type=click.Path(path_type=Path))
@click.option("--name", help="Which model; default: the only name there is.")
@click.option("--drop", multiple=True, metavar="LABEL", help="Unlearn a label; may be given again.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Rename a known label; may be given again.")
@click.option(
    "--promote",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Whether it becomes champion; auto: if it is not worse and its labels can be believed.",
)
@click.option(
    "--head",
    type=click.Choice(["same", "auto", "linear", "hidden"]),
    default="same",
    show_default=True,
    help="same: of the champion's kind.",
)
@click.option("--finetune", is_flag=True, help="Train the whole network again, from its pretrained weights.")
@click.option(
    "--with",
    "old",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The photos learned before, which --finetune needs; may be given again.",
)
@json_option
def retrain(*, new: Path | None, rename: tuple[str, ...], finetune: bool, as_json: bool, **chosen: Any) -> None:
    """Learn the labelled folder NEW on top of what the champion knows; the old photos are not needed.

    A photo that is known under another label is relabelled. NEW may be missing where --drop, --rename or --finetune is
    given.

    Exit status 1: done, but some files were left out, or the new version was not made the champion, although --promote
    never was not said; both are said.
    """
    from handful.training.finetune.distributed import started_rank
    from handful.training.finetune.settings import FineTuneSettings
    from handful.training.retraining.command import RetrainSettings, follow_retrain, retrain_folder

    pairs = dict(_renamed(pair) for pair in rename)
    settings = RetrainSettings(rename=pairs, finetune=FineTuneSettings() if finetune else None, **chosen)
    if started_rank():
        follow_retrain(new, settings)
        return
    result, problems = retrain_folder(new, settings)
    say_frozen(result)
    print_result(result, retrain_words(result, problems), as_json=as_json)
    if result["images"]["skipped"] or not (result["promoted"] or settings.promote == "never"):
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _renamed(pair: str) -> tuple[str, str]:
    old, _, new = pair.partition("=")
    if not (old and new):
        raise click.BadParameter(f"{pair!r} is not OLD=NEW.", param_hint="--rename")
    return old, new


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
    """Measure a model on the labelled folder DATA, which it should not have seen.

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
    """The whole story, offline, on generated photos: sample, check, train, classify, then serve."""
    from handful.training.demo import run_demo, serve_demo

    result = run_demo(folder)
    words = f"{train_words(result, ())}\npredictions: {result['classified']['out']}"
    print_result(result, words, as_json=as_json)
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
