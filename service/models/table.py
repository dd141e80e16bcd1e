"""The store as a table, one row per version, with the problems below."""

from __future__ import annotations

import sys
from typing import Any, Literal

from handful.service.artifact.errors import ArtifactError, ModelNotFound
from handful.service.artifact.folder import read_card
from handful.service.artifact.label_names import printable
from handful.service.artifact.store import Store
from rich.console import Console
from rich.table import Table
from rich.text import Text

UNBOUNDED = 10_000  # columns of a pipe, whose rows are never cut
# heading -> the narrowest terminal, in columns, that shows it
COLUMNS = {"": 0, "model": 0, "accuracy (95 %)": 0, "images": 60, "trained": 72, "labels": 50, "parent": 100}
WRAPPED = {"labels", "parent"}


def list_versions(store: Store, name: str | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """Every version's card with a `champion` flag, or a broken one's name, version and reason; and all problems."""
    if name and not store.versions(name):
        store.resolve(name)  # raises an error that lists the models there are
    versions: list[dict[str, Any]] = []
    problems: list[str] = []
    for each in [name] if name else store.names():
        try:
            champion = store.served(each)
        except ModelNotFound as e:
            problems.append(str(e))
            champion = ""
        for number in store.versions(each):
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
    """A narrow terminal gets fewer columns; a pipe gets all of them, one line per version."""
    console = Console() if sys.stdout.isatty() else Console(width=UNBOUNDED)
    if not versions:
        console.print("There is no model yet; `handful train FOLDER` trains one.", highlight=False)
        return
    shown = [heading for heading, least in COLUMNS.items() if console.width >= least]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in shown:
        justify: Literal["left", "right"] = "right" if heading == "images" else "left"
        table.add_column(heading, no_wrap=heading not in WRAPPED, overflow="fold", justify=justify)
    for version in versions:
        cells = _cells(version)
        table.add_row(*(Text(printable(cells[heading])) for heading in shown))
    with console.capture() as captured:
        console.print(table, highlight=False)
    sys.stdout.write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")
    for problem in problems:
        console.print(Text(printable(problem)), soft_wrap=True)


def _cells(version: dict[str, Any]) -> dict[str, str]:
    name = {"": "*" if version["champion"] else "", "model": f"{version['name']}:{version['version']}"}
    if "broken" in version:
        return dict.fromkeys(COLUMNS, "") | name | {"accuracy (95 %)": "broken"}
    cv, origin = version["cross_validation"], version["origin"]
    low, high = cv["accuracy_ci95"]
    return name | {
        "accuracy (95 %)": f"{cv['accuracy']:.1%} ({low:.1%}-{high:.1%})",
        "images": str(version["data"]["images"]),
        "trained": version["created_at"][:16].replace("T", " "),
        "labels": ", ".join(version["labels"]),
        "parent": " at ".join(filter(None, (version["parent"], origin and origin["repo"]))),
    }
