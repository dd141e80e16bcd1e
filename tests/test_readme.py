"""The commands, flags and make targets in the README exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from handful.__main__ import handful

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command_lines() -> list[str]:
    lines = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    spans = re.findall(r"`([^`\n]+)`", README)
    commands = [re.sub(r"^([A-Z_]+=\S+ )+", "", line).partition("  #")[0].strip() for line in [*lines, *spans]]
    return sorted({line for line in commands if line.startswith("handful ")})


@pytest.mark.parametrize("line", command_lines())
def test_every_command_in_the_readme_exists_with_its_flags(line: str) -> None:
    words = shlex.split(line)[1:]
    context = click.Context(handful)
    command: click.Command = handful
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        subcommand = command.get_command(context, words.pop(0))
        assert subcommand is not None, line
        command = subcommand
    flags = {flag for parameter in command.get_params(context) for flag in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= flags


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", README)) & {"demo", "test", "bench", "clean"} <= targets


def test_every_command_is_in_the_readme() -> None:
    context = click.Context(handful)
    for name in handful.list_commands(context):
        assert f"handful {name}" in README, name
