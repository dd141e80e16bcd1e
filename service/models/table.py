"""The store as a table, one row per version, with the problems below."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Any, Literal

from handful.service.artifact.errors import ArtifactError, ModelNotFound
from handful.service.artifact.folder import read_card
from handful.service.artifact.label_names import printable
from handful.service.artifact.store import Store
from handful.service.artifact.verdict import TITLES
from handful.service.terminal.output import command_line, next_lines
from rich.console import Console
from rich.table import Table
from rich.text import Text

UNBOUNDED = 10_000  # columns of a pipe, whose rows are never cut
# heading -> the narrowest terminal, in columns, that shows it; None: a terminal shows it below the row
COLUMNS = {"": 0, "model": 0, "accuracy (95 %)": 0, "verdict": 72, "images": 50} | dict.fromkeys(
    ("trained", "labels", "parent")
)
MOST_MODEL = 20  # columns of NAME:VERSION on a terminal


def list_versions(store: Store, model: str | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """Every version's card with a `champion` flag, or a broken one's name, version and reason; and all problems."""
    name, _, version = (model or "").partition(":")
    if version or (name and not store.versions(name)):
        store.resolve(model)  # raises an error that lists the models there are
    versions: list[dict[str, Any]] = []
    problems: list[str] = []
    for each in [name] if name else store.names():
        try:
            champion = store.served(each)
        except ModelNotFound as e:
            problems.append(str(e))
            champion = ""
        for number in [version] if version else store.versions(each):
            entry = _card_or_problem(store, each, number)
            versions.append({**entry, "champion": number == champion})
            if "broken" in entry:
                problems.append(f"{each}:{number} is broken: {entry['broken']}")
    return versions, problems


def _card_or_problem(store: Store, name: str, version: str) -> dict[str, Any]:
    try:
        return read_card(store.path(name, version)).model_dump(mode="json")
    except (ArtifactError, OSError) as e:
        return {"name": name, "version": version, "broken": str(e)}


def print_table(versions: list[dict[str, Any]], problems: list[str]) -> None:
    """A terminal gets what fits its width, with the labels below each row; a pipe gets one whole line per version."""
    if not versions:
        sys.stdout.write("There is no model yet; `handful train FOLDER` trains one.\n")
        return
    lines = _for_terminal(versions) if sys.stdout.isatty() else _rows(versions, list(COLUMNS), UNBOUNDED)
    sys.stdout.write("\n".join([*lines, *map(printable, problems)]) + "\n")


def _for_terminal(versions: list[dict[str, Any]]) -> list[str]:
    width = shutil.get_terminal_size().columns
    shown = [heading for heading, least in COLUMNS.items() if least is not None and width >= least]
    if not any(version.get("verdict") for version in versions):  # all were made before there were verdicts
        shown = [heading for heading in shown if heading != "verdict"]
    heading, *rows = _rows(versions, shown, width)
    lines = [heading]
    for version, row in zip(versions, rows, strict=True):
        cells = _cells(version)
        origin = f", from {cells['parent']}" if cells["parent"] else ""
        below = [cells["labels"], f"trained {cells['trained']}{origin}"] if cells["labels"] else []
        lines += [row, *(part for text in below for part in _wrapped(printable(text), width))]
    return [*lines, "", "* is the version in use.", *_next(versions)]


def _next(versions: list[dict[str, Any]]) -> list[str]:
    others = [version for version in versions if not version["champion"] and "broken" not in version]
    if others:
        model = f"{others[-1]['name']}:{others[-1]['version']}"
        return next_lines((command_line("models", "promote", model), "uses this one instead"))
    model = f"{versions[-1]['name']}:{versions[-1]['version']}"
    return next_lines((command_line("models", "show", model), "prints all that is known of it"))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def _rows(versions: list[dict[str, Any]], shown: list[str], width: int) -> list[str]:
    """The heading and one line per version."""
    table = Table(box=None, pad_edge=False, header_style=None)
    for heading in shown:
        justify: Literal["left", "right"] = "right" if heading == "images" else "left"
        table.add_column(heading, no_wrap=True, overflow="ellipsis", justify=justify)
    for version in versions:
        cells = _cells(version)
        if width < UNBOUNDED and len(cells["model"]) > MOST_MODEL:
            number = version["version"]
            cells["model"] = f"{version['name'][: MOST_MODEL - 2 - len(number)]}…:{number}"
        table.add_row(*(Text(printable(cells[heading])) for heading in shown))
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def _cells(version: dict[str, Any]) -> dict[str, str]:
    name = {"": "*" if version["champion"] else "", "model": f"{version['name']}:{version['version']}"}
    if "broken" in version:
        return dict.fromkeys(COLUMNS, "") | name | {"accuracy (95 %)": "broken"}
    cv, origin = version["cross_validation"], version["origin"]
    low, high = cv["accuracy_ci95"]
    verdict = version.get("verdict") or {}
    return name | {
        "accuracy (95 %)": f"{cv['accuracy']:.1%} ({100 * low:.1f}-{high:.1%})",
        "verdict": TITLES[verdict["level"]].lower() if verdict else "",
        "images": str(version["data"]["images"]),
        "trained": version["created_at"][:16].replace("T", " "),
        "labels": ", ".join(version["labels"]),
        "parent": " at ".join(filter(None, (version["parent"], origin and origin["repo"]))),
    }
