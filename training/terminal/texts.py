"""The texts that a command ends with, made from its result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from handful.service.artifact.verdict import TITLES
from handful.service.terminal.output import command_line, next_lines
from handful.training.terminal.problems import SHOWN, first_problems, plural, problem_lines

if TYPE_CHECKING:
    from handful.training.photos.sources import Problem


def check_text(result: dict[str, Any], problems: Sequence[Problem], data: Path) -> str:
    usable, found = result["usable"], result["images"]
    lines = [
        f"{found} {plural(found, 'file', 'files')}, {usable} usable: {_counts(result['per_label']) or 'none'}"
        f"{_other_count(result)}",
        *(problem_lines(problems, found - usable) or ["Nothing is wrong with this folder."]),
        *_cue_lines(result),
    ]
    if result["per_label"]:
        lines += ["", *next_lines((command_line("train", data), "learns from the usable ones"))]
    return "\n".join(lines)


def _cue_lines(result: dict[str, Any]) -> list[str]:
    from handful.training.photos.cues import sentence_about  # numpy is loaded by now

    sentence = sentence_about(result.get("cues", []))
    return [sentence] if sentence else []


def warn_if_frozen(result: dict[str, Any]) -> None:
    """On stderr, where fine-tuning was wanted and its network is not exported."""
    finetune = result.get("finetune")
    if finetune and not finetune["kept"]:
        click.echo(f"The frozen backbone is exported: fine-tuning was {finetune['reason']}.", err=True)


def train_text(result: dict[str, Any], problems: Sequence[Problem], data: Path, champion: str | None) -> str:
    """`champion` is the version in use, NAME:VERSION; it may be another one."""
    new = [] if champion in {None, result["model"]} else [f"{champion} stays the version in use."]
    return "\n".join([*_learned(result, problems, data), *new, "", *_next(result, data, champion)])


def _learned(result: dict[str, Any], problems: Sequence[Problem], data: Path | None) -> list[str]:
    """What was learned from, what was left out, how good it is, where it lies."""
    images = result["images"]
    verdict, guessing = _verdict_lines(result)
    return [
        *(verdict if guessing else []),
        f"{result['model']} has learned {_and(result['labels'])} from {images['used']} photos:"
        f" {_counts(images['per_label'])}{_other_count(images)}.",
        *first_problems(problems, images["skipped"], data),
        "",
        *_accuracy_lines(result),
        *([] if guessing else verdict),
        *_forecast_lines(result.get("forecast")),
        *_cue_lines(result),
        *_int8_lines(result.get("int8")),
        *_finetune_lines(result.get("finetune")),
        *(_held_out_line(part, metrics) for part, metrics in result.get("held_out", {}).items()),
        "",
        f"report: {result['report']}",
        f"model:  {result['path']}",
    ]


def _verdict_lines(result: dict[str, Any]) -> tuple[list[str], bool]:
    """The verdict, and whether it is that the model is no better than guessing: this stands first."""
    verdict = result.get("verdict")
    if not verdict:
        return [], False
    return [f"{TITLES[verdict['level']]}: {verdict['sentence']}"], verdict["level"] == "guessing"


def _accuracy_lines(result: dict[str, Any]) -> list[str]:
    cv = result["cv"]
    low, high = cv["accuracy_ci95"]
    if len(result["labels"]) == 1:
        return [
            f"Of 100 photos of {result['labels'][0]} like these that it has not seen, it recognises about"
            f" {100 * cv['accuracy']:.0f}, and calls the others unknown (95 % interval {100 * low:.0f} to"
            f" {100 * high:.0f}, in {cv['folds']} folds: each photo was answered by a model that had not learned it)."
            " With one label there is no accuracy to measure.",
        ]
    return [
        f"Of 100 photos like these that it has not seen, it answers about {100 * cv['accuracy']:.0f} right"
        f" (accuracy {cv['accuracy']:.1%}, 95 % interval {low:.1%} to {high:.1%}, in {cv['folds']} folds:"
        " each photo was answered by a model that had not learned it).",
        f"It would call {100 * cv['unknown_rate']:.0f} of 100 such photos unknown"
        f"{_strangers(result.get('unknown') or {})}. The percentages that it gives are off by"
        f" {100 * cv['ece']:.0f} points on average.",
    ]


def _other_count(images: dict[str, Any]) -> str:
    count = images.get("other", 0)
    return f"; and {count} {plural(count, 'photo', 'photos')} of no label" if count else ""


def _new_other(count: int) -> str:
    return f" {count} {plural(count, 'photo', 'photos')} of no label {plural(count, 'is', 'are')} new." if count else ""


def _strangers(unknown: dict[str, Any]) -> str:
    """How many photos it rightly calls unknown, continuing a sentence."""
    left_out, other = unknown.get("left_out_label_refused"), unknown.get("other_refused")
    parts = [
        *([] if left_out is None else [f"{100 * left_out:.0f} of 100 of a label that it had not learned"]),
        *([] if other is None else [f"{100 * other:.0f} of 100 in other/ that it had not seen"]),
    ]
    return f", and rightly {_and(parts)}" if parts else ""


def _forecast_lines(forecast: dict[str, Any] | None) -> list[str]:
    if not forecast:
        return []
    from handful.service.artifact.card import ForecastCard  # loaded by now

    return [ForecastCard.model_validate(forecast).sentence]


def _next(result: dict[str, Any], data: Path, champion: str | None) -> list[str]:
    model = result["model"]
    name = model.rpartition(":")[0] if champion == model else model
    commands = [(command_line("classify", "FOLDER", "--out", "answers.csv", "--model", name), "answers new photos")]
    if photo := _first_photo(data):
        explain = command_line("explain", photo, "--out", "explained.png", "--model", name)
        commands.insert(0, (explain, "shows what decides one answer"))
    if champion not in {None, model}:
        commands.append((command_line("models", "promote", model), "makes this the version in use"))
    else:
        commands.append((command_line("serve", "--model", name), "a page and HTTP"))
    return next_lines(*commands)


def _first_photo(data: Path) -> Path | None:
    from handful.service.artifact.image_files import images  # numpy is loaded by now

    return next((path for path in images(data) if path.is_file()), None) if data.is_dir() else None


def _counts(per_label: dict[str, int]) -> str:
    return ", ".join(f"{label} {count}" for label, count in per_label.items())


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else ", ".join(words)


def _int8_lines(int8: dict[str, Any] | None) -> list[str]:
    return [f"8-bit integers: {'kept' if int8['kept'] else 'not kept'}; {int8['reason']}"] if int8 else []


def _finetune_lines(finetune: dict[str, Any] | None) -> list[str]:
    if not finetune or not finetune["kept"]:
        return []  # `warn_if_frozen` reports it
    return [f"fine-tuned for {finetune['epochs']} epochs in {finetune['seconds']:.0f} s: {finetune['reason']}"]


def _held_out_line(part: str, metrics: dict[str, Any]) -> str:
    low, high = metrics["accuracy_ci95"]
    learned = metrics.get("learned", 0)
    also = f"; {learned} of them were learned too, which says nothing about new photos" if learned else ""
    return f"on {part}/: accuracy {metrics['accuracy']:.1%} ({low:.1%} to {high:.1%}), {metrics['images']} images{also}"


def retrain_text(result: dict[str, Any], problems: Sequence[Problem], data: Path | None, champion: str | None) -> str:
    if not result["challenger"]:
        skipped = result["images"]["skipped"]
        return "\n".join(
            [*first_problems(problems, skipped, data), f"{result['model']} stays in use: {result['reason']}"]
        )
    suspected, relabelled = result["suspected"], result["relabelled"]
    taken = "is now the version in use" if result["promoted"] else f"is not in use; {champion} stays"
    lines = [
        f"{result['previous']} did not know {result['new']} of the photos, and knew {result['known']}."
        f"{_new_other(result.get('new_other', 0))}",
        *([f"{len(relabelled)} of those have another label now:"] if relabelled else []),
        *([f"{result['missing']} that it knew are in none of the folders: unlearned."] if result["missing"] else []),
        *(f"  {each['path']}: was {each['former']}, is {each['label']}" for each in relabelled[:SHOWN]),
        *([f"{len(suspected)} of the new labels look wrong:"] if suspected else []),
        *(f"  {each['path']}: labelled {each['label']}, looks like {each['looks_like']}" for each in suspected[:SHOWN]),
        *([f"  and {len(suspected) - SHOWN} more"] if len(suspected) > SHOWN else []),
        *_learned(result, problems, data),
        "",
        f"{result['model']} {taken}. {result['reason']}",
    ]
    name = result["model"].rpartition(":")[0]
    if result["promoted"]:
        back = (command_line("models", "rollback", name), f"back to {result['previous']}")
        return "\n".join([*lines, "", *next_lines((command_line("serve", "--model", name), "a page and HTTP"), back)])
    anyway = (command_line("models", "promote", result["model"]), "uses it all the same")
    return "\n".join([*lines, "", *next_lines(anyway)])


def evaluate_text(result: dict[str, Any], problems: Sequence[Problem], data: Path) -> str:
    low, high = result["accuracy_ci95"]
    foreign, learned = result["foreign"], result.get("learned", 0)
    unknown = (
        f"{foreign['refused']} of {foreign['images']} photos under labels that it does not know: unknown, rightly."
    )
    if result.get("one_label"):
        measured = [
            f"{result['model']} recognises {100 * result['accuracy']:.0f} of 100 photos of {result['one_label']},"
            f" and calls the others unknown: {result['images']} photos (95 % interval {low:.1%} to {high:.1%}).",
            *([] if foreign["images"] else ["Photos of other things in a further folder would show what it refuses."]),
        ]
    else:
        measured = [
            f"{result['model']} answers {100 * result['accuracy']:.0f} of 100 photos right: {result['images']} photos,"
            f" accuracy {result['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}).",
            f"It calls {100 * result['unknown_rate']:.0f} of 100 unknown. Macro F1 {result['macro_f1']:.3f}, log loss"
            f" {result['log_loss']:.3f}, calibration error {result['ece']:.3f}.",
        ]
    lines = [
        *problem_lines(problems),
        *measured,
        *([unknown] if foreign["images"] else []),
        *(
            [f"{learned} of these photos it has learned; what it says of them tells nothing of new ones."]
            if learned
            else []
        ),
        *_exported_lines(result.get("onnx")),
        "",
        f"report: {result['report']}",
        "",
        *next_lines(
            (command_line("retrain", data, "--model", result["model"].rpartition(":")[0]), "learns these photos too")
        ),
    ]
    return "\n".join(lines)


def _exported_lines(onnx: dict[str, Any] | None) -> list[str]:
    """How far an exported file agrees with the model that it was made of."""
    if onnx is None:
        return []
    if onnx["compared_with"] is None:
        return [f"These are the answers of {onnx['file']}; the model that it was made of is not here to compare with."]
    return [
        f"These are the answers of {onnx['file']}. Against {onnx['compared_with']} in float32,"
        f" {onnx['labels_changed']} of {onnx['photos']} labels differ, and probabilities by up to"
        f" {onnx['largest_difference']:.2g}."
    ]


def sample_text(out: Path, per_label: int) -> str:
    lines = [f"{per_label} handbags and {per_label} shoes are in {out}.", ""]
    train = command_line("train", out, "--backbone", "builtin")
    return "\n".join([*lines, *next_lines((train, "learns to tell them apart"))])
