"""The supervisor: circus as BentoML uses it, without its control port, and quick to replace a dead or stuck worker.

BentoML has circus listen for commands on TCP ports of this machine, where any process may give some, and look after
its workers every ten seconds.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from circus.arbiter import Arbiter as CircusArbiter  # type: ignore[import-untyped]  # it has no types
from handful.service.serving.forked import ForkingWatcher, can_fork, ready_to_fork
from handful.service.serving.watchdog import BEATS, Watchdog
from handful.service.settings import Settings
from tornado import gen

logger = logging.getLogger(__name__)
CHECK_SECONDS = 1.0  # between looks at the workers
BUSY_SECONDS = 0.02  # between two looks at whether circus is idle
END_SECONDS = 5.0  # after `drain_seconds`, until a worker that has not ended is killed


def supervised(arbiter: Any, settings: Settings, preload: Callable[[], None]) -> Any:
    """A subclass of BentoML's arbiter, to be used in its place. `preload` imports what workers need."""
    if not issubclass(arbiter, CircusArbiter):
        raise TypeError(f"{arbiter} is not circus's arbiter: this version of BentoML is not supported.")

    class Supervisor(arbiter):  # type: ignore[misc]  # the base is not typed
        def __init__(self, watchers: Iterable[Any], **options: Any) -> None:
            self.of_service = [*watchers]  # circus adds watchers of its own plugins
            self.watchdog = Watchdog(round(settings.stuck_seconds / CHECK_SECONDS))
            _set_up(self.of_service, settings, self.watchdog)
            plugins = bool(options.get("plugins"))  # those of --reload, which needs new interpreters
            if not plugins:
                _fork(self.of_service, preload)
            control, events = _endpoints(outside=plugins)
            options |= {"endpoint": control, "pubsub_endpoint": events, "check_delay": CHECK_SECONDS}
            super().__init__([*self.of_service], **options)

        def manage_watchers(self) -> Any:
            """Called every `CHECK_SECONDS`."""
            if self._exclusive_running_command is not None:
                return None  # workers are just being started or stopped
            _kill(self.watchdog.stuck([process for watcher in self.of_service for process in watcher.processes]))
            return super().manage_watchers()

        @gen.coroutine
        def stop(self) -> Any:
            yield _until_idle(self)
            if not self._stopping:
                yield super().stop()

    return Supervisor


def _set_up(watchers: Iterable[Any], settings: Settings, watchdog: Watchdog) -> None:
    for watcher in watchers:
        watcher.graceful_timeout = settings.drain_seconds + END_SECONDS
        watcher.respawn = True  # in a container, too: other workers may still be answering
        watcher.env[BEATS] = str(watchdog.descriptor)


def _fork(watchers: Iterable[Any], preload: Callable[[], None]) -> None:
    """Has the watchers fork this process, where that works."""
    if not can_fork():
        return
    preload()
    ready_to_fork()
    for watcher in watchers:
        watcher.__class__ = ForkingWatcher


@gen.coroutine
def _until_idle(arbiter: Any) -> Any:
    """Circus refuses to stop while it starts or stops workers, and then forgets that a SIGTERM asked for it."""
    while arbiter._exclusive_running_command is not None and not arbiter._stopping:
        yield gen.sleep(BUSY_SECONDS)


def _kill(stuck: Iterable[int]) -> None:
    for process in stuck:
        logger.warning("Worker %d gives no sign of life; it is killed and replaced", process)
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _endpoints(*, outside: bool) -> tuple[str, str]:
    """Where circus takes commands and tells of events: nowhere, unless processes of its own must reach it."""
    if not outside:
        return "inproc://handful-control", "inproc://handful-events"
    folder = tempfile.mkdtemp(prefix="handful-control-")  # nobody else may enter it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return f"ipc://{folder}/control", f"ipc://{folder}/events"
