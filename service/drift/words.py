"""What `handful drift` prints for a person, made from its result."""

from __future__ import annotations

from typing import Any

from handful.service.terminal.output import command_line, next_lines

TITLES = {
    "steady": "Steady: these photos look to {model} like those {others}.",
    "too_few": "Too few photos to tell whether they look to {model} like those {others}.",
    "moved": "Moved: these photos look to {model} different from those {others}.",
    "far": "Far: these photos look to {model} very different from those {others}.",
}
MOST_LABELS = 5  # that are named
NAMES = {"unknown_score": "unfamiliarity (unknown score)", "confidence": "confidence"}
HIGHER = {"unknown_score": "they resemble its labels less", "confidence": "it is surer of them"}
LOWER = {"unknown_score": "they resemble its labels more", "confidence": "it is less sure of them"}
APART = 0.05  # from one half: that a score is higher or lower is said
LEVELS = {"steady": "steady", "too_few": "too few", "moved": "moved", "far": "far"}


def drift_text(result: dict[str, Any]) -> str:
    answered, unknown = result["images"] - result["failed"], result["unknown"]
    training = result["against"] == "training"
    width = max(len(NAMES[name]) for name in result["scores"])
    lines = [
        TITLES[result["verdict"]].format(
            model=result["model"], others="that it learned" if training else f"of {result['against']}"
        ),
        "",
        f"{'':{width}}   PSI  by chance",
        *(_score(name, score, width) for name, score in result["scores"].items()),
        "",
        f"{_photos(answered)} against {result['against_images']:,}{' of training' if training else ''}"
        + (f"; {result['failed']:,} could not be read." if result["failed"] else "."),
    ]
    if answered:
        lines.append(f"Unknown: {unknown['share']:.1%}; {'in training' if training else 'before'} {_share(unknown)}.")
    lines += _labels(result["labels"] or [])
    if result["verdict"] == "too_few":
        lines.append(_enough(result, answered))
    return "\n".join([*lines, "", *_next(result)])


def _share(unknown: dict[str, Any]) -> str:
    return "not known" if unknown["against_share"] is None else f"{unknown['against_share']:.1%}"


def _labels(changes: list[dict[str, Any]]) -> list[str]:
    """Those that are answered more or less often than before, the largest change first."""
    changed = [each for each in changes if each["changed"]]
    changed.sort(key=lambda each: -abs(each["share"] - each["against_share"]))
    lines = []
    for word, sign in (("more", 1), ("less", -1)):
        named = [each for each in changed if (each["share"] - each["against_share"]) * sign > 0]
        if named:
            shown = [f"{each['label']} {each['share']:.0%} (before {each['against_share']:.0%})" for each in named]
            more = f" and {len(shown) - MOST_LABELS} more labels" if len(shown) > MOST_LABELS else ""
            lines.append(f"Answered {word} often: {', '.join(shown[:MOST_LABELS])}{more}.")
    return lines


def _enough(result: dict[str, Any], answered: int) -> str:
    needed = result["images_to_tell"]
    if needed is None:
        return "There are too few photos to compare with; no number of new ones would tell."
    return f"About {needed:,} photos would tell." if answered < needed else "Twice as many photos may tell."


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def _score(name: str, score: dict[str, Any], width: int) -> str:
    words, (psi, chance) = (
        LEVELS[score["verdict"]],
        ("   -" if score[key] is None else f"{score[key]:.2f}" for key in ("psi", "psi_by_chance")),
    )
    if score["verdict"] in {"moved", "far"}:
        above = score["above"]
        side = HIGHER[name] if above > 0.5 + APART else LOWER[name] if above < 0.5 - APART else "it varies differently"
        words = f"{words}: {side}"
    return f"{NAMES[name]:{width}}  {psi}       {chance}  {words}"


def _next(result: dict[str, Any]) -> list[str]:
    name = result["model"].partition(":")[0]
    if result["verdict"] in {"moved", "far"}:
        return next_lines(
            (command_line("suggest", "FOLDER", "--model", name), "which of them to label"),
            (command_line("retrain", "FOLDER", "--model", name), "learns them"),
        )
    more = "classifies more of them" if result["verdict"] == "too_few" else "classifies the next ones"
    return next_lines((command_line("classify", "FOLDER", "--model", name, "--out", "next.parquet"), more))
