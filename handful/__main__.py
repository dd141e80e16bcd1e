"""`handful`: the commands of `handful.service` and, if it is installed, of `handful.training`."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from importlib.util import find_spec
from typing import TextIO

import click

from handful.service.artifact.errors import HandfulError
from handful.service.cli import commands as service_commands
from handful.service.terminal.output import EXIT_WRONG_USE, CommandGroup, escape_unprintable, print_words

ORDER = (  # of use
    *("demo", "studio", "sample", "check", "train", "classify", "merge", "explain", "evaluate", "retrain", "compare"),
    *("suggest", "label", "drift", "export", "models", "serve"),
)


class _LogHandler(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at that moment: while a bar is shown, that is the place above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="handful", prog_name="handful")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens to stderr.")
def handful(*, verbose: bool) -> None:
    """Train an image classifier from a handful of labelled photos, and serve it."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(message)s", handlers=[_LogHandler(sys.stderr)]
    )


def _commands() -> dict[str, click.Command]:
    if not find_spec("handful.training"):  # a container that only serves may lack it
        return service_commands
    from handful.training.cli import commands as training_commands

    return training_commands | service_commands


for _name, _command in sorted(_commands().items(), key=lambda item: ORDER.index(item[0])):
    handful.add_command(_command, _name)


class _FastExit:
    """Called after all else that is to be done at the end: leaves the process without taking the interpreter apart.

    That would take up to a second once networks were computed, and frees what the system frees anyway. What was
    registered before would not be called any more, so where there is such a thing, the process ends as any other.
    """

    status: int | None = None  # None: the command has not ended by itself

    @classmethod
    def registered(cls) -> _FastExit:
        ending = cls()
        if atexit._ncallbacks() <= 1:  # logging's, whose part is done below
            atexit.register(ending)  # what is registered first is called last
        return ending

    def __call__(self) -> None:
        if self.status is None:
            return
        logging.shutdown()
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        except (OSError, ValueError):
            return  # the interpreter reports it
        os._exit(self.status)


def main() -> None:
    """The console script. Every failure is one sentence on stderr and an exit status."""
    ending = _FastExit.registered()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else idle threads of the network keep cores from the decoders
    escape_unprintable()
    try:
        status = handful.main(prog_name="handful", standalone_mode=False)
    except click.exceptions.Exit as e:
        status = e.exit_code
    except click.Abort:
        status = 130
    except click.UsageError as e:
        status = _fail(e.format_message(), e.ctx)
    except click.ClickException as e:
        status = _fail(e.format_message())
    except (HandfulError, ModuleNotFoundError) as e:
        status = _fail(_sentence(e))
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the reader has gone, and flushing would fail again
        status = 0
    except OSError as e:
        status = _fail(f"{e.strerror or e}{f': {e.filename}' if e.filename else ''}.")
    ending.status = status if isinstance(status, int) else 0
    sys.exit(ending.status)


def _sentence(error: HandfulError | ModuleNotFoundError) -> str:
    """Also for an installation that only answers from exported files (docs/export.md)."""
    if isinstance(error, HandfulError):
        return str(error)
    if (error.name or "handful").startswith("handful"):
        raise error  # a fault of ours
    return (
        f"This needs {error.name}, which is not installed; `pip install handful` installs all that it needs."
        " Without it, `handful classify PHOTO --onnx FILE` answers from a file that `handful export` wrote."
    )


def _fail(message: str, context: click.Context | None = None) -> int:
    """With the command's context, the sentence ends with where its use is explained."""
    more = f" See `{context.command_path} --help`." if context and "--help" not in message else ""
    print_words(f"handful: {message}{more}")
    return EXIT_WRONG_USE


if __name__ == "__main__":
    main()
