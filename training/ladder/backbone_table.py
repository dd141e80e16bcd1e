"""The table of `--backbone auto`, for a person."""

from __future__ import annotations

from typing import Any

from handful.service.terminal.output import VERBATIM

COLUMNS = ("network", "accuracy", "95 % interval", "images/s", "MB", "licence", "")
WORSE = (
    "Worse: photo by photo, the most accurate network gave the right label more probability than this one, beyond noise"
    " (log loss, paired bootstrap, 95 % interval)."
)
OWN_FOLDS = (
    "Photos that any of the networks takes for near-duplicates were kept in one fold; below, those that the taken one"
    " does, so its accuracy may differ by a photo or two."
)
LEFT = {0, 5, 6}  # columns of words


def backbone_lines(result: dict[str, Any] | None) -> list[str]:
    """Of `ChosenBackbone.result`; nothing where one network was named."""
    if not result:
        return []
    rows = [COLUMNS, *map(_row, result["tried"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return [
        f"{len(rows) - 1} pretrained networks on the same folds of these {result['images']} photos:",
        *(VERBATIM + _line(row, widths) for row in rows),
        f"{result['chosen']} is taken: {result['reason']}.",
        *([WORSE] if any(each["behind"] for each in result["tried"]) else []),
        "Images per second are those of the network alone on this machine, measured in this run; MB those of its"
        " weights.",
        *([OWN_FOLDS] if result["own_folds"] else []),
        "",
    ]


def _row(tried: dict[str, Any]) -> tuple[str, ...]:
    low, high = tried["accuracy_ci95"]
    speed = tried["images_per_second"]
    return (
        tried["ref"],
        f"{tried['accuracy']:.1%}",
        f"{low:.1%} to {high:.1%}",
        f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}",
        f"{tried['megabytes']:.0f}" if tried["megabytes"] >= 10 else f"{tried['megabytes']:.1f}",
        tried["licence"] or "not stated",
        "taken" if tried["chosen"] else "worse" if tried["behind"] else "as good",
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = (
        text.ljust(width) if column in LEFT else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()
