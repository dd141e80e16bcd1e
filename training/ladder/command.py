"""`handful compare`: the ladder on a folder, or the pair of networks on MNIST-1D."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from handful.service.artifact.errors import UsageError
from handful.service.terminal.output import (
    EXIT_PROBLEMS,
    command_line,
    json_option,
    limit_options,
    next_lines,
    print_result,
)
from handful.service.terminal.progress import LOADING, LOOKING, STARTING, tell, working
from handful.training.ladder.settings import TITLES, LadderSettings, chosen_names, stage_texts
from handful.training.options import backbone_option, column_options, seed_option
from handful.training.settings import SourceSettings

WIDTH = 100  # characters of the whole table, so that it is the same in a wide terminal and in a file
STAGES = {STARTING: 4.0, LOADING: 1.0, LOOKING: 8.0}


@click.command("compare")
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--rungs", metavar="A,B,C", default="", help=f"Only these of {', '.join(TITLES)}; default: all.")
@backbone_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the plot; default: compare-NAME, here.")
@click.option("--mnist1d", is_flag=True, help="Instead of DATA: dense against convolutional on MNIST-1D.")
@seed_option
@column_options
@limit_options
@json_option
def ladder(
    *,
    data: Path | None,
    rungs: str,
    backbone: str,
    out: Path | None,
    mnist1d: bool,
    seed: int,
    path_column: str | None,
    label_column: str | None,
    as_json: bool,
) -> None:
    """Compare ways to learn a folder, from pixels to fine-tuning.

    DATA holds one folder of photos per label, or is another source as for `train`; all rungs of the ladder are tested
    on the same folds of it. The pretrained network is loaded only where a chosen rung uses it.

    Exit status 1: done, but some files were left out; `handful check` lists them.
    """
    from handful.service.artifact.names import name_from_folder
    from handful.training.checks import check_backbone, check_labelled_folder

    if mnist1d == (data is not None):
        raise UsageError("compare takes either a labelled folder or --mnist1d.")
    if data is None:
        _mnist1d(seed, out or Path("compare-mnist1d"), as_json=as_json)
        return
    names = chosen_names([name.strip() for name in rungs.split(",") if name.strip()])
    check_labelled_folder(data)
    settings = LadderSettings(rungs=names, backbone=backbone, seed=seed)
    stages = STAGES | dict.fromkeys(stage_texts(names), 20.0)
    with working(f"Comparing {len(names)} ways to learn the photos in {data}.", stages):
        if settings.on_backbone:
            check_backbone(backbone)
        from handful.training.photos.sources import read_folder

        columns = SourceSettings(path_column=path_column, label_column=label_column).columns
        for words in read_folder(data, columns).first_words:  # or that there are no labels
            tell(words)
        from handful.training.ladder.ladder import climb_ladder

        result, _ = climb_ladder(data, settings, out or Path(f"compare-{name_from_folder(data)}"), columns)
    print_result(result, _text(result, data), as_json=as_json)
    if result["images"]["skipped"]:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _text(result: dict[str, Any], data: Path) -> str:
    images, seconds = result["images"], result["seconds"]
    skipped = f"; {images['skipped']} left out" if images["skipped"] else ""
    lines = [
        _table(result["rows"]),
        "",
        f"{images['used']} photos{skipped}. Each rung was tested on {result['judged']} of them, in {result['folds']}"
        f" folds: parts that it had not learned from. All took {seconds['total']:.0f} s, of which reading"
        f"{' and embedding' if result['backbone'] else ''} {seconds['embed']:.0f} s.",
        *(
            ()
            if result["backbone"]
            else ("Near-duplicates were not looked for: only a pretrained network shows them.",)
        ),
        f"plot: {result['plot']}",
        "",
        *next_lines((command_line("train", data), "makes a model of the frozen backbone")),
    ]
    return "\n".join(lines)


def _mnist1d(seed: int, out: Path, *, as_json: bool) -> None:
    with working("Training a dense and a convolutional network on MNIST-1D.", {STARTING: 4, "training": 30}):
        from handful.training.ladder.convolution import train_mnist1d_pair

        result = train_mnist1d_pair(seed, out)
    images = result["images"]
    summary = f"MNIST-1D: {images['train']} training signals, {images['test']} test signals"
    print_result(result, f"{_table(result['rows'])}\n\n{summary}\nplot: {result['plot']}", as_json=as_json)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """A terminal narrower than the table gets it without the numbers of parameters."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDTH
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("rung")
    table.add_column("")
    for column in ("accuracy", "95 % interval", *(() if narrow else ("parameters", "learned")), "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        low, high = row["accuracy_ci95"]
        sizes = () if narrow else (f"{row['parameters']:,}", f"{row['trained']:,}")
        numbers = (f"{row['accuracy']:.1%}", f"{low:.1%} to {high:.1%}", *sizes, f"{row['seconds']:.1f}")
        table.add_row(row["name"], row["title"], *numbers)
    width = shutil.get_terminal_size().columns if narrow else WIDTH
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")
