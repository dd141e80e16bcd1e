"""`handful suggest`: which unlabelled photos to label next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from handful.service.terminal.output import (
    EXIT_PROBLEMS,
    check_out,
    command_line,
    json_option,
    limit_options,
    next_lines,
    print_result,
)
from handful.service.terminal.progress import CHOOSING, LOADING, LOADING_MODEL, LOOKING, STARTING, tell, working
from handful.training.options import seed_option

MOST = 10_000  # suggestions
SHOWN = 50  # rows on the terminal
STAGES = {STARTING: 4.0, LOADING: 1.0, LOADING_MODEL: 1.0, LOOKING: 20.0, CHOOSING: 2.0}


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many to suggest.")
@click.option(
    "--model",
    metavar="NAME[:VERSION]",
    help="The model that is to learn them: what it knows counts as covered, and it says what it doubts; default: none.",
)
@click.option(
    "--backbone",
    metavar="REF",
    default="builtin",
    show_default=True,
    help="Without --model: the network that says how alike photos are.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write a contact sheet, an .html file.")
@click.option(
    "--path-column", metavar="NAME", help="Of a table: the column of paths; default: found by its usual name."
)
@seed_option
@limit_options
@json_option
def suggest(
    *,
    source: Path,
    count: int,
    model: str | None,
    backbone: str,
    out: Path | None,
    path_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Choose the unlabelled photos that are worth a label.

    SOURCE is a folder, a zip, a table of paths or hf://datasets/ORG/NAME. Its photos are chosen so that together they
    stand for as many of the others as possible, near-duplicates once; with --model those that it has learned count as
    chosen, and from five photos per label on the choice goes where the model is in doubt.

    Exit status 1: done, but some photos could not be read, or fewer than --count are worth a label.
    """
    from handful.service.artifact.store import Store
    from handful.training.checks import check_backbone, check_labelled_folder, source_text

    check_labelled_folder(source)
    if out:
        check_out(out, [".html"])
    if model:
        Store().resolve(model)
    else:
        check_backbone(backbone)
    with working(f"Looking for {count} photos to label in {source_text(source)}.", STAGES):
        from handful.training.suggest.pool import unlabelled
        from handful.training.suggest.sheet import write_sheet
        from handful.training.suggest.suggest import suggest_photos

        photos = unlabelled(source, path_column)
        tell(f"{len(photos.paths):,} photos")
        result, suggested = suggest_photos(photos, count, model, backbone, seed=seed)
        result["sheet"] = str(out) if out else None
        if out:
            write_sheet(out, suggested, result)
    print_result(result, _text(result, source, count), as_json=as_json)
    if result["failed"] or len(suggested) < count:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _text(result: dict[str, Any], source: Path, count: int) -> str:
    rows, left = result["suggested"], []
    if result["known"]:
        left.append(f"{result['known']} the model has learned already")
    if result["same_picture"]:
        left.append(f"{result['same_picture']} the same picture as another")
    if result["failed"]:
        left.append(f"{len(result['failed'])} unreadable")
    covered = result["covered"]
    lines = [
        *(f"{number:>4}  {_row(row)}" for number, row in enumerate(rows[:SHOWN], 1)),
        *([f"      and {len(rows) - SHOWN} more; --json lists all"] if len(rows) > SHOWN else []),
        "",
        f"{len(rows)} of {result['images']} photos, chosen by {result['by']}"
        f"{'; left out: ' + ', '.join(left) if left else ''}.",
        f"How well labelled photos stand for all of these: {covered['before']:.0%} now, {covered['after']:.0%} with the"
        " chosen ones.",
        *([f"No other photo is left that is no near-duplicate; {count} were asked for."] if len(rows) < count else []),
        *(f"  {each['path']}: {each['error']}" for each in result["failed"][:10]),
        *([f"contact sheet: {result['sheet']}"] if result["sheet"] else []),
        "",
        *_next(result, source),
    ]
    return "\n".join(lines)


def _row(row: dict[str, Any]) -> str:
    if "confidence" not in row:
        return str(row["path"])
    return f"{row['path']}  {'unknown' if row['unknown'] else row['label'] + ' ' + format(row['confidence'], '.0%')}"


def _next(result: dict[str, Any], source: Path) -> list[str]:
    if not result["model"]:
        return next_lines((command_line("train", "FOLDER"), "learns them, once each lies in a folder of its label"))
    name = result["model"].partition(":")[0]
    return next_lines(
        (command_line("retrain", "FOLDER", "--model", name), "learns them, once each lies in a folder of its label"),
        (command_line("suggest", source, "--model", name), "then says what to label next"),
    )
