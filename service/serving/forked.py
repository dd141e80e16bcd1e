"""Workers as forks of the supervisor, which has imported what they need: a new one is ready within a second or two.

A new interpreter would spend most of its start on importing torch and timm. Nothing is computed before the fork, so
neither the network's threads nor a GPU's context exist yet.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import psutil  # type: ignore[import-untyped]  # bentoml brings it, nobody its types
from circus.process import Process  # type: ignore[import-untyped]  # it has no types
from circus.watcher import Watcher  # type: ignore[import-untyped]

HANDLED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGWINCH")  # by circus; a new process handles none


def can_fork() -> bool:
    """Elsewhere than on Linux, libraries of the system do not survive a fork."""
    return sys.platform == "linux" and threading.current_thread() is threading.main_thread()


def ready_to_fork() -> None:
    """Called once everything is imported: what exists now is left alone by the collector, and so stays shared."""
    torch = sys.modules.get("torch")  # not there where the service answers from an exported file
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError("An import has used the GPU, so a fork of this process could not.")
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else extension modules complain at the end
    atexit.register(_wait_for_dead)


def _wait_for_dead() -> None:
    """Circus forgets a worker that dies between two of its looks, and waits for it only at the next."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def leave() -> NoReturn:
    """Ends this process successfully. To take apart all that was imported for its forks would take seconds."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class ForkingWatcher(Watcher):  # type: ignore[misc]  # the base is not typed
    """circus's watcher of workers, with forks instead of new interpreters."""

    @property
    def _process_class(self) -> Any:
        return ForkedProcess


class ForkedProcess(Process):  # type: ignore[misc]  # the base is not typed
    """One worker, as circus knows a process."""

    def spawn(self) -> None:
        self.started = time.time()
        python, option, module, *arguments = self.format_args(sockets_fds=self._get_sockets_fds())
        if option != "-m":
            raise ValueError(f"{python} {option} {module} is not the command of a worker that can be forked.")
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            _become(module, arguments, self.env, self.working_dir)
        self._worker = _Child(pid)


class _Child(psutil.Process):  # type: ignore[misc]  # the base is not typed
    """A process with what circus asks of `subprocess.Popen` besides."""

    stdout = stderr = returncode = None

    def poll(self) -> int | None:
        """The exit status as in `Popen`; None while the process runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self.returncode = 0  # circus itself has waited for it
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _become(module: str, arguments: Sequence[str], environ: Mapping[str, str], folder: str) -> NoReturn:
    """Does in the child what `python -m module` does, and ends it; what is above on the stack never goes on."""
    status = 1
    try:
        os.setsid()
        for name in HANDLED:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(-1)
        asyncio._set_running_loop(None)  # there is no public way to leave the parent's loop
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)
        sys.argv = [str(Path(sys.modules[module].__file__ or module)), *arguments]
        import_module(module).main()
        status = 0
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:  # noqa: BLE001 - nothing may go on up the stack
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
