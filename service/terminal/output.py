"""What all commands share: output, exit statuses, flags, groups of commands, the check of `--out`."""

from __future__ import annotations

import difflib
import io
import json
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from handful.service.artifact.errors import UsageError
from handful.service.artifact.label_names import printable
from handful.service.artifact.limits import MAX_MEGABYTES, MAX_MEGAPIXELS, MEGABYTES_VARIABLE, MEGAPIXELS_VARIABLE

Command = Callable[..., Any]

EXIT_PROBLEMS = 1  # done, but the command reported problems
EXIT_WRONG_USE = 2  # wrong use, or unusable input

VERBATIM = " " * 4  # a line that begins so is never broken: a command to paste
MOST_SUGGESTIONS = 3
MOST = 100_000  # of a limit on photos
USUAL_WIDTH = 80  # columns, where there is no terminal to ask

json_option = click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout.")
onnx_option = click.option(
    "--onnx",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Instead of --model: a file that `handful export` wrote; answered without torch.",
)
tta_option = click.option(
    "--tta", is_flag=True, help="Average over ten views of each image (corners, centre, mirrored); 11 times slower."
)


def limit_options(command: Command) -> Command:
    """The limits on photos: a flag sets the variable that the service has, too, also for the command's processes."""
    for flag, variable, default, words in (
        ("--max-megabytes", MEGABYTES_VARIABLE, MAX_MEGABYTES, "MB that one photo's file may have"),
        ("--max-megapixels", MEGAPIXELS_VARIABLE, MAX_MEGAPIXELS, "Megapixels that one photo may have"),
    ):
        command = click.option(
            flag,
            type=click.FloatRange(0, MOST, min_open=True),
            metavar="N",
            envvar=variable,
            expose_value=False,
            callback=partial(_set_variable, variable),
            show_envvar=True,
            help=f"{words}; default: {default:g}.",
        )(command)
    return command


def _set_variable(variable: str, context: click.Context, parameter: click.Parameter, value: float | None) -> None:  # noqa: ARG001
    if value is not None:
        os.environ[variable] = repr(value)


class RenamedOption(click.Option):
    """An option whose former names still work; the help shows the first name only."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        names = self.opts
        self.opts = names[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


def model_flag(*former_names: str, required: bool = False) -> Callable[[Command], Command]:
    """`--model NAME[:VERSION]`, the same on every command that takes a model."""
    default = "" if required else "; default: the only model, if there is just one"
    return click.option(
        "--model",
        *former_names,
        "model",
        cls=RenamedOption,
        metavar="NAME[:VERSION]",
        help=f"The model; its champion (the version in use) where no VERSION is given{default}.",
    )


def one_model(argument: str | None, model: str | None, metavar: str, *, required: bool) -> str | None:
    """The model named by the argument or by --model. Raises `UsageError` for both, and if `required` for neither."""
    if argument and model:
        raise UsageError(f"Got both {argument} and --model {model}; one of them is enough.")
    if required and not (argument or model):
        raise UsageError(f"Which model? {metavar} is expected; `handful models list` shows those there are.")
    return argument or model


def model_and_target(words: Sequence[str], model: str | None, metavar: str) -> tuple[str, str]:
    """Of a command whose arguments are a model, unless --model names it, and what to do with it."""
    *before, target = words or ("",)
    if len(before) > 1 or not target:
        raise UsageError(f"Got {' '.join(words) or 'nothing'}; {metavar} is expected.")
    named = one_model(before[0] if before else None, model, metavar, required=True)
    return str(named), target


model_option = model_flag()


class CommandGroup(click.Group):
    """Lists commands in the order in which they were added, suggests near names, and alone prints its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            near = difflib.get_close_matches(name.lower(), self.commands, MOST_SUGGESTIONS)
            hint = f"did you mean {' or '.join(near)}?" if near else f"`{ctx.command_path} --help` lists all."
            ctx.fail(f"No such command {name!r}; {hint}")
        return super().resolve_command(ctx, args)


def print_result(result: object, text: str, *, as_json: bool) -> None:
    """Prints the result as one JSON document, or the text for a person, which fits the width of a terminal."""
    if as_json:
        text = json.dumps(result, ensure_ascii=False, indent=2)
        _print(text if _fits_stdout(text) else json.dumps(result, indent=2))
        return
    lines = printable_lines(text).splitlines()
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        lines = [part for line in lines for part in _broken(line, width)]
    _print("\n".join(lines))


def escape_unprintable() -> None:
    """From here on a letter that stdout or stderr cannot encode is printed as its number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print(text: str) -> None:
    click.echo(text, file=sys.stdout)  # click would replace a stdout in ASCII by one in UTF-8


def print_words(text: str) -> None:
    """On stderr, for a person."""
    click.echo(printable_lines(text), file=sys.stderr)


def _fits_stdout(text: str) -> bool:
    """Whether stdout can encode every letter; otherwise JSON has escapes of its own."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def printable_lines(text: str) -> str:
    """As `printable`, line by line: names may come from strangers, who must not control the terminal."""
    return "\n".join(map(printable, text.split("\n")))


def _broken(line: str, width: int) -> list[str]:
    """At spaces only, with the following lines indented; paths stay whole, and so do lines to paste."""
    if len(line) <= width or line.startswith(VERBATIM):
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def command_line(*words: str | Path) -> str:
    """A command of handful to paste into a shell."""
    return shlex.join(["handful", *map(str, words)])


def next_lines(*commands: tuple[str, str]) -> list[str]:
    """Lines that say what to do next: pairs of a command and what it does, side by side where they fit the width."""
    column = max(len(command) for command, _ in commands) + 2
    longest = len(VERBATIM) + column + len("# ") + max(len(purpose) for _, purpose in commands)
    if longest <= (shutil.get_terminal_size().columns if sys.stdout.isatty() else USUAL_WIDTH):
        return ["Next:", *(f"{VERBATIM}{command.ljust(column)}# {purpose}" for command, purpose in commands)]
    return ["Next:", *(line for command, purpose in commands for line in (f"  {purpose}:", f"{VERBATIM}{command}"))]


def check_out(out: Path, endings: Collection[str]) -> None:
    """Checks `--out` before any work; raises `UsageError` for another ending or a place that cannot be written."""
    if out.suffix.lower() not in endings:
        raise UsageError(f"--out ends in {out.suffix or 'nothing'!r}; {either(endings)} is allowed.")
    if not out.parent.is_dir() or out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"--out {out} cannot be written; it must be a file in an existing folder that you may write.")


def check_onnx(onnx: Path | None, model: str | None) -> None:
    """Raises `UsageError` for what an exported file does not go with, and for one that is not there."""
    if onnx is None:
        return
    if model is not None:
        raise UsageError(f"Got both --onnx {onnx} and --model {model}; one of them answers.")
    if not onnx.is_file():
        raise UsageError(f"--onnx {onnx} is not there; a file that `handful export` wrote is expected.")


def check_one_view(onnx: Path | None, *, tta: bool) -> None:
    """Raises `UsageError` where an exported file should look more than once."""
    if tta and onnx is not None:
        raise UsageError("--tta needs the model itself; an exported file looks at one view of a photo.")


def check_photo(path: Path) -> None:
    """Raises `UsageError` for a folder and for a path that is not there."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; one photo is expected.")
    if not path.exists():
        raise UsageError(f"{path} is not there; one photo is expected.")


def either(words: Iterable[str]) -> str:
    """`a`; `a or b`; `a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
