"""What `classify` and `explain` print for a person, made from their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from handful.service.terminal.output import VERBATIM, command_line, next_lines

PREFIX = "probability_"  # of a row's columns
LABEL_WIDTH = 24  # of a printed label
MOST_LABELS = 5  # of one photo
NO_PHOTOS = "No photo was found: a photo, or a folder, zip or table of photos is expected."


def classify_text(result: dict[str, Any], folder: Path) -> str:
    """Rows, unless they are in a file; then counts that add up. The paths of rows are relative to `folder`."""
    rows = result.get("rows")
    lines = [] if rows is None else answer_lines(rows)
    if rows is None or len(rows) != 1:
        lines += ["", _counts(result)] if lines else [_counts(result)]
    if result["left_out"]:
        lines += [f"left out: {', '.join(f'{count:,} {kind}' for kind, count in result['left_out'].items())}"]
    if not result["images"]:
        return "\n".join([*lines, NO_PHOTOS])
    if rows is None:
        lines += [f"rows: {result['out']} ({result['images_per_second']} photos per second)"]
        if result["failed"]:
            lines += ["The rows of photos that could not be read say why, in the column `error`."]
        if result["formulas"]:
            cells = "1 path begins" if result["formulas"] == 1 else f"{result['formulas']:,} paths begin"
            lines += [f"{cells} like a formula, which a spreadsheet would run; with --excel none does."]
        lines += [
            "",
            "To teach it what it got wrong, put such photos into one folder per label, and then:",
            VERBATIM + command_line("retrain", "FOLDER", "--model", _name(result)),
        ]
    elif shown := [row for row in rows if not (row["error"] or "://" in row["path"])]:
        one = len(_ranked(shown[0])) == 1
        least_sure = folder / min(shown, key=lambda row: row["confidence"])["path"]
        explain = command_line("explain", least_sure, "--out", "explained.png", "--model", result["model"])
        purpose = "why it answers so" if len(rows) == 1 or one else "why it is least sure of this one"
        lines += ["", *next_lines((explain, purpose))]
    return "\n".join(lines)


def merge_text(result: dict[str, Any]) -> str:
    """Counts of the merged rows, and what may differ between the parts."""
    parts = "1 part" if result["parts"] == 1 else f"{result['parts']} parts"
    lines = [_counts(result), f"rows: {result['out']} ({parts})"]
    if len(result["engines"]) > 1:
        lines += [
            f"The parts were computed in different ways ({', '.join(result['engines'])}), so their probabilities differ"
            " within rounding from those of one machine."
        ]
    return "\n".join(lines)


def _counts(result: dict[str, Any]) -> str:
    counts = {label: count for label, count in result["per_label"].items() if count}
    counts |= {word: result[key] for word, key in (("unknown", "unknown"), ("not readable", "failed")) if result[key]}
    listed = ", ".join(f"{word} {count}" for word, count in counts.items()) or "there are no photos here"
    photos = "photo" if result["images"] == 1 else "photos"
    return f"{result['images']} {photos} with {result['model']}: {listed}"


def _name(result: dict[str, Any]) -> str:
    name: str = result["model"].rpartition(":")[0]
    return name


def answer_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per photo; of a single photo the most probable labels, too."""
    if len(rows) == 1:
        return [*_one(rows[0])]
    words = [_word(row) for row in rows]
    width = min(max(map(len, words), default=0), LABEL_WIDTH)
    return [f"{_cut(word).ljust(width)}  {_detail(row)}" for word, row in zip(words, rows, strict=True)]


def _one(row: Mapping[str, Any]) -> Iterator[str]:
    """The answer as a sentence, then the most probable labels."""
    if row["error"]:
        yield f"{row['path']} could not be read: {_reason(row)}"
        return
    ranked = _ranked(row)
    if len(ranked) == 1:  # the only label is the likeliest one of any photo
        only = ranked[0][0]
        yield (
            f"{row['path']}: {only}" if row["label"] else f"{row['path']}: unknown, because it does not resemble {only}"
        )
        return
    if row["label"]:
        yield f"{row['path']}: {row['label']}, {row['confidence']:.1%} sure"
    else:
        yield f"{row['path']}: unknown, because it resembles none of the labels; if it had to be one:"
    width = max(len(_cut(label)) for label, _ in ranked[:MOST_LABELS])
    for label, probability in ranked[:MOST_LABELS]:
        yield f"{VERBATIM}{_cut(label).ljust(width)}  {probability:6.1%}"


def _detail(row: Mapping[str, Any]) -> str:
    if row["error"]:
        return f"        {row['path']}: {_reason(row)}"
    if len(_ranked(row)) == 1:
        return str(row["path"])
    if row["label"]:
        return f"{row['confidence']:6.1%}  {row['path']}"
    label, probability = _ranked(row)[0]
    return f"        {row['path']} (most like {label}, {probability:.0%})"


def _word(row: Mapping[str, Any]) -> str:
    return str(row["label"] or ("not read" if row["error"] else "unknown"))


def _reason(row: Mapping[str, Any]) -> str:
    return str(row["error"]).partition(": ")[2]


def _ranked(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    labels = [(key.removeprefix(PREFIX), value) for key, value in row.items() if key.startswith(PREFIX)]
    return sorted(labels, key=lambda pair: -pair[1])


def _cut(label: str) -> str:
    return label if len(label) <= LABEL_WIDTH else f"{label[: LABEL_WIDTH - 1]}…"


def explain_text(result: dict[str, Any]) -> str:
    best = result["predictions"][0]
    if len(result["predictions"]) == 1:
        lines = [
            f"{result['label']} ({result['model']})"
            if result["label"]
            else f"unknown, because it does not resemble {best['label']} ({result['model']})"
        ]
    elif result["label"]:
        lines = [f"{result['label']}, {best['probability']:.1%} sure ({result['model']})"]
    else:
        lines = [
            f"unknown; the most probable label would be {best['label']}, {best['probability']:.1%} ({result['model']})"
        ]
    if "shift" in result:
        shift = result["shift"]
        lines.append(
            f"the same label for {shift['same_label_share']:.0%} of {shift['photos']} changed photos;"
            f" lowest probability {shift['lowest_probability']:.1%}"
        )
    return "\n".join([*lines, f"picture: {result['out']}"])
