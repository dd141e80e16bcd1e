"""The text that a person reads on the terminal, made from a command's result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from handful.training.photos.sources import Problem

SHOWN = 20  # problems in the text of a training; --json and `check` list all


def problem_lines(problems: tuple[Problem, ...]) -> list[str]:
    return [f"  {problem.path}: {problem.kind}: {problem.detail}" for problem in problems]


def warn_if_frozen(result: dict[str, Any]) -> None:
    """On stderr, where fine-tuning was wanted and its network is not exported."""
    finetune = result.get("finetune")
    if finetune and not finetune["kept"]:
        click.echo(f"The frozen backbone is exported: fine-tuning was {finetune['reason']}.", err=True)


def train_text(result: dict[str, Any], problems: tuple[Problem, ...]) -> str:
    images, cv, seconds = result["images"], result["cv"], result["seconds"]
    low, high = cv["accuracy_ci95"]
    counts = ", ".join(f"{label} {count}" for label, count in images["per_label"].items())
    lines = [
        f"{result['model']}: {images['used']} images used ({counts}), {images['skipped']} skipped",
        *problem_lines(problems[:SHOWN]),
        *([f"  and {len(problems) - SHOWN} more; `handful check` lists all"] if len(problems) > SHOWN else []),
        f"accuracy {cv['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}) in {cv['folds']} folds,"
        f" calibration error {cv['ece']:.3f}, {cv['unknown_rate']:.1%} refused as unknown",
        f"{result['head']} head; {seconds['total']:.1f} s, of which embedding {seconds['embed']:.1f}"
        f" and fitting {seconds['fit']:.1f}",
        *_int8_lines(result.get("int8")),
        *_finetune_lines(result.get("finetune")),
        *(_held_out_line(part, metrics) for part, metrics in result.get("held_out", {}).items()),
        f"artifact: {result['path']}",
        f"report: {result['report']}",
    ]
    return "\n".join(lines)


def _int8_lines(int8: dict[str, Any] | None) -> list[str]:
    return [f"8-bit integers: {'kept' if int8['kept'] else 'not kept'}; {int8['reason']}"] if int8 else []


def _finetune_lines(finetune: dict[str, Any] | None) -> list[str]:
    if not finetune or not finetune["kept"]:
        return []  # `warn_if_frozen` reports it
    return [f"fine-tuned for {finetune['epochs']} epochs in {finetune['seconds']:.0f} s: {finetune['reason']}"]


def _held_out_line(part: str, metrics: dict[str, Any]) -> str:
    low, high = metrics["accuracy_ci95"]
    return f"on {part}/: accuracy {metrics['accuracy']:.1%} ({low:.1%} to {high:.1%}), {metrics['images']} images"


def retrain_text(result: dict[str, Any], problems: tuple[Problem, ...]) -> str:
    suspected = result["suspected"]
    lines = [
        f"{result['previous']} knew {result['known']} of the photos; new: {result['new']},"
        f" relabelled: {len(result['relabelled'])}",
        *(
            [f"  {result['missing']} that it knew are in none of the folders and were unlearned"]
            if result["missing"]
            else []
        ),
        *(f"  {each['path']}: was {each['former']}, is {each['label']}" for each in result["relabelled"][:SHOWN]),
        *(
            f"  {each['path']}: labelled {each['label']}, looks like {each['looks_like']}; look at it"
            for each in suspected[:SHOWN]
        ),
        *([f"  and {len(suspected) - SHOWN} more that look wrong"] if len(suspected) > SHOWN else []),
        train_text(result, problems),
        f"{result['model']} is {'now the champion' if result['promoted'] else 'not made the champion'}."
        if result["challenger"]
        else f"{result['model']} stays the champion.",
        result["reason"],
    ]
    return "\n".join(lines)
