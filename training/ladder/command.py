"""`handful compare`: the ladder on a folder, or the pair of networks on MNIST-1D."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from handful.service.artifact.errors import UsageError
from handful.service.terminal.output import EXIT_PROBLEMS, json_option, print_result
from handful.training.options import backbone_option, seed_option

WIDTH = 100  # characters, so that the table is the same in a terminal and in a file


@click.command("compare")
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--rungs", metavar="A,B,C", default="", help="Only these; default: all.")
@backbone_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the plot; default: compare-NAME, here.")
@click.option("--mnist1d", is_flag=True, help="Instead of DATA: dense against convolutional on MNIST-1D.")
@seed_option
@json_option
def ladder(
    *, data: Path | None, rungs: str, backbone: str, out: Path | None, mnist1d: bool, seed: int, as_json: bool
) -> None:
    """Climb from pixels to fine-tuning on the labelled folder DATA, on the same folds.

    Exit status 1: done, but some files were left out; `handful check` lists them.
    """
    if mnist1d == (data is not None):
        raise UsageError("compare takes either a labelled folder or --mnist1d.")
    if data is None:
        _mnist1d(seed, out or Path("compare-mnist1d"), as_json=as_json)
        return
    from handful.training.ladder.ladder import LadderSettings, climb_ladder

    names = tuple(name.strip() for name in rungs.split(",") if name.strip())
    settings = LadderSettings(rungs=names, backbone=backbone, seed=seed)
    result, _ = climb_ladder(data, settings, out or Path(f"compare-{data.resolve().name}"))
    images = result["images"]
    summary = (
        f"{images['used']} images; each rung was tested on {result['judged']} of them, in {result['folds']}"
        " folds: parts that it had not learned from; embedding took"
        f" {result['seconds']['embed']:.1f} s, all {result['seconds']['total']:.1f} s; {images['skipped']} left out"
    )
    print_result(result, f"{_table(result['rows'])}\n{summary}\nplot: {result['plot']}", as_json=as_json)
    if images["skipped"]:
        raise click.exceptions.Exit(EXIT_PROBLEMS)


def _mnist1d(seed: int, out: Path, *, as_json: bool) -> None:
    from handful.training.ladder.convolution import train_mnist1d_pair

    result = train_mnist1d_pair(seed, out)
    images = result["images"]
    summary = f"MNIST-1D: {images['train']} training signals, {images['test']} test signals"
    print_result(result, f"{_table(result['rows'])}\n{summary}\nplot: {result['plot']}", as_json=as_json)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("rung")
    table.add_column("")
    for column in ("accuracy", "95 % interval", "parameters", "learned", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        low, high = row["accuracy_ci95"]
        numbers = (f"{row['accuracy']:.1%}", f"{low:.1%} to {high:.1%}", f"{row['parameters']:,}")
        table.add_row(row["name"], row["title"], *numbers, f"{row['trained']:,}", f"{row['seconds']:.1f}")
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).rstrip()
