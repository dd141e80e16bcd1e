"""The libraries that a report is drawn with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread

LIBRARIES = ("sklearn.tree", "matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.decomposition", "jinja2")


@contextmanager
def imported_meanwhile() -> Iterator[None]:
    """Imports them while the block works with something that leaves Python's lock alone, such as a network."""
    importing = Thread(target=_import, name="report", daemon=True)
    importing.start()
    yield
    importing.join()  # importing the same package in two threads at once can give one of them half of it


def _import() -> None:
    for name in LIBRARIES:
        with suppress(Exception):  # whoever needs it says so
            import_module(name)
