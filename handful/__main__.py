"""`handful`: the commands of `handful.service` and, if it is installed, of `handful.training`."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec

import click

from handful.service.artifact.errors import HandfulError
from handful.service.artifact.label_names import printable
from handful.service.cli import commands
from handful.service.terminal.output import EXIT_WRONG_USE


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="handful", prog_name="handful")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens to stderr.")
def handful(*, verbose: bool) -> None:
    """Train an image classifier from a handful of labelled photos, and serve it."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)


for _name, _command in commands.items():
    handful.add_command(_command, _name)
if find_spec("handful.training"):  # a container that only serves may lack it
    from handful.training.cli import commands as training_commands

    for _name, _command in training_commands.items():
        handful.add_command(_command, _name)


def main() -> None:
    """The console script. Every failure is one sentence on stderr and an exit status."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else idle threads of the network keep cores from the decoders
    try:
        status = handful.main(standalone_mode=False)
    except click.exceptions.Exit as e:
        status = e.exit_code
    except click.Abort:
        status = 130
    except click.ClickException as e:
        status = _fail(e.format_message())
    except HandfulError as e:
        status = _fail(str(e))
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the reader has gone, and flushing would fail again
        status = 0
    except OSError as e:
        status = _fail(f"{e.strerror or e}{f': {e.filename}' if e.filename else ''}.")
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    lines = map(printable, message.split("\n"))  # it may name what a stranger has sent
    click.echo("handful: " + "\n".join(lines), err=True)
    return EXIT_WRONG_USE


if __name__ == "__main__":
    main()
