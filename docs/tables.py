"""The tables of the pages, rendered from what the program itself declares: a new flag needs no second list."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click
from handful.service.api import Api
from handful.service.artifact.errors import ImageError
from handful.service.http.endpoint import Endpoint
from handful.service.http.errors import RequestError, status_of
from handful.service.http.metrics import FollowMetrics
from handful.service.settings import Settings, variable
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from docs.blocks import replace_blocks
from handful.__main__ import handful


def renew() -> None:
    replace_blocks(tables())


def tables() -> dict[str, str]:
    """Name of a generated part -> its text."""
    flags = {f"flags {name}": flag_table(name, command) for name, command in leaf_commands().items()}
    return {
        **flags,
        "settings": setting_table(),
        "calls": call_table(api().endpoints),
        "errors": error_table(),
        "metrics": metric_table(api().metrics.families()),
        "follow metrics": metric_table(_follow_metrics().collect()),
    }


def leaf_commands() -> dict[str, click.Command]:
    """`train`, `models list`, ... -> the command."""
    return dict(_leaves(handful, ()))


def _leaves(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def flag_table(name: str, command: click.Command) -> str:
    """The line of use and a table of the flags; `--json` and `--help`, which every command has, are left out."""
    context = click.Context(command)
    words = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
    flags = [each for each in command.params if isinstance(each, click.Option) and "--json" not in each.opts]
    usage = " ".join(["handful", name, *words, *(["[flags]"] if flags else [])])
    rows = [_flag_row(flag, context) for flag in flags]
    return f"`{usage}`" + (f"\n\n{table(('flag', 'default', 'meaning'), rows)}" if rows else "")


def _flag_row(flag: click.Option, context: click.Context) -> tuple[str, str, str]:
    names, _ = flag.get_help_record(context) or ("", "")
    names = re.sub(r" (INTEGER|FLOAT)( RANGE)?$", " N", names)
    return f"`{names}`", _default(flag), _sentence(flag.help or "")


def _default(flag: click.Option) -> str:
    if flag.required:
        return "required"
    return "" if flag.is_flag or flag.multiple or not flag.show_default else f"`{flag.default}`"


def _sentence(text: str) -> str:
    return text.rstrip(".")


def setting_table() -> str:
    rows = [
        (f"`{variable(name)}`", _setting_default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return table(("variable", "default", "meaning"), rows)


def _setting_default(value: Any) -> str:
    if value is None or value == ():
        return "unset"
    return f"{value:g}" if isinstance(value, float) else str(value)


@cache
def api() -> Api:
    """A service with the default settings, whatever the environment says."""
    return Api(Settings.model_construct(feedback=Path("corrections")))


def call_table(endpoints: Iterable[Endpoint]) -> str:
    rows = []
    for endpoint in endpoints:
        answers = ", ".join(f"{status}: {_lower(answer.description)}" for status, answer in endpoint.answers.items())
        bodies = " or ".join(f"`{kind}`" for kind in endpoint.content or ())
        rows.append((f"`{endpoint.method} {endpoint.path}`", bodies, _sentence(endpoint.summary), answers))
    return table(("call", "body", "what", "answer"), rows)


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[0].lower() + text[1:]


def error_table() -> str:
    """Every error that an answer can carry, by status and code."""
    kinds = [
        kind for kind in _below(RequestError, ImageError) if hasattr(kind, "status") or issubclass(kind, ImageError)
    ]
    rows = sorted((str(status_of(kind)), f"`{kind.code}`", _sentence(_first_line(kind))) for kind in kinds)
    return table(("status", "code", "when"), rows)


def _below(*kinds: type[Any]) -> Iterator[type[Any]]:
    """All classes that have no subclass."""
    for kind in kinds:
        children = kind.__subclasses__()
        if children:
            yield from _below(*children)
        else:
            yield kind


def _first_line(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _follow_metrics() -> CollectorRegistry:
    registry = CollectorRegistry()
    FollowMetrics(registry)
    return registry


def metric_table(families: Iterable[Metric]) -> str:
    rows = [(f"`{_series(family)}`", family.documentation) for family in families]
    return table(("series", "what"), rows)


def _series(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a column that is empty in all rows is left out."""
    listed = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    kept = [index for index in range(len(heading)) if any(row[index] for row in listed)]
    lines = [
        [heading[index] for index in kept],
        ["---"] * len(kept),
        *([row[index] for index in kept] for row in listed),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
