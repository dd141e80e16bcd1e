"""What `handful drift` prints for a person, made from its result."""

from __future__ import annotations

from typing import Any

from handful.service.terminal.output import command_line, next_lines

TITLES = {
    "steady": "Steady: these photos look to {model} like those that it learned.",
    "too_few": "Too few photos to tell whether they differ from those that {model} learned.",
    "moved": "Moved: these photos look to {model} different from those that it learned.",
    "far": "Far: these photos look to {model} very different from those that it learned.",
}
NAMES = {"unknown_score": "unfamiliarity (unknown score)", "confidence": "confidence"}
HIGHER = {"unknown_score": "they resemble its labels less", "confidence": "it is surer of them"}
LOWER = {"unknown_score": "they resemble its labels more", "confidence": "it is less sure of them"}
APART = 0.05  # from one half: that a score is higher or lower is said
LEVELS = {"steady": "steady", "too_few": "too few", "moved": "moved", "far": "far"}


def drift_text(result: dict[str, Any]) -> str:
    answered, unknown = result["images"] - result["failed"], result["unknown"]
    width = max(len(NAMES[name]) for name in result["scores"])
    lines = [
        TITLES[result["verdict"]].format(model=result["model"]),
        "",
        f"{'':{width}}   PSI  by chance",
        *(_score(name, score, width) for name, score in result["scores"].items()),
        "",
        f"{_photos(answered)} against {result['training_images']:,} of training"
        + (f"; {result['failed']:,} could not be read." if result["failed"] else "."),
    ]
    if answered:
        lines.append(f"Unknown: {unknown['share']:.1%}; in training {unknown['training_share']:.1%}.")
    if result["verdict"] == "too_few":
        lines.append(_enough(result, answered))
    return "\n".join([*lines, "", *_next(result)])


def _enough(result: dict[str, Any], answered: int) -> str:
    needed = result["images_to_tell"]
    if needed is None:
        return "The model has learned too few photos to compare with; no number of later ones would tell."
    return f"About {needed:,} photos would tell." if answered < needed else "Twice as many photos may tell."


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def _score(name: str, score: dict[str, Any], width: int) -> str:
    chance = "  -  " if score["psi_by_chance"] is None else f"{score['psi_by_chance']:.2f}"
    words = LEVELS[score["verdict"]]
    if score["verdict"] in {"moved", "far"}:
        above = score["above_training"]
        side = HIGHER[name] if above > 0.5 + APART else LOWER[name] if above < 0.5 - APART else "it varies differently"
        words = f"{words}: {side}"
    return f"{NAMES[name]:{width}}  {score['psi']:.2f}       {chance}  {words}"


def _next(result: dict[str, Any]) -> list[str]:
    name = result["model"].partition(":")[0]
    if result["verdict"] in {"moved", "far"}:
        return next_lines(
            (command_line("suggest", "FOLDER", "--model", name), "which of them to label"),
            (command_line("retrain", "FOLDER", "--model", name), "learns them"),
        )
    more = "classifies more of them" if result["verdict"] == "too_few" else "classifies the next ones"
    return next_lines((command_line("classify", "FOLDER", "--model", name, "--out", "next.parquet"), more))
