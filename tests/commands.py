"""`handful` as a process of its own, without the seconds that every new interpreter spends on importing torch.

A server imports what commands and services import, once per test run and worker; each command is a fork of it: a real
process with an environment, a folder and output of its own, that can be killed. What must start cold starts cold in
`test_installation.py`, and in the tests that measure imports.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

PRELOADED = [
    "_bentoml_impl.client",
    "_bentoml_impl.server.app",
    "_bentoml_impl.server.serving",
    "_bentoml_impl.worker.service",
    "_bentoml_sdk.service",
    "bentoml._internal.utils.analytics",
    "bentoml._internal.utils.circus",
    "bentoml.serving",
    "handful.__main__",
    "handful.service.api",
    "handful.service.classify.local",
    "handful.service.explain.picture",
    "handful.service.serving.connections",
    "handful.training.evaluate",
    "handful.training.ladder.ladder",
    "handful.training.retraining.command",
    "handful.training.train",
    "jinja2",
    "openvino",
    "opentelemetry.instrumentation.asgi",
    "sklearn.decomposition",
    "sklearn.tree",
    "tests.warmed",
    "torch._dynamo",
    "uvicorn",
]


class Command:
    """A command that runs; `wait` ends it with its output, `kill` without. A `log` takes all of its output."""

    def __init__(
        self, *arguments: str | Path, environment: Mapping[str, str], cwd: Path | None = None, log: Path | None = None
    ) -> None:
        self.arguments = [*map(str, arguments)]
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = [log or Path(self._folder.name) / name for name in ("stdout", "stderr")]
        os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it when the server imports it
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        settings = {**os.environ, **environment}
        self.process = context.Process(
            target=_run, args=(self.arguments, settings, cwd or Path.cwd(), [*map(str, self._outputs)])
        )
        self.process.start()

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def exit_code(self, seconds: float) -> int:
        """Waits for its end. Raises AssertionError if it goes on for longer."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"{self.arguments} has not ended within {seconds} seconds"
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def wait(self) -> subprocess.CompletedProcess[str]:
        self.process.join()
        out, err = (path.read_text(encoding="utf-8") for path in self._outputs)
        return subprocess.CompletedProcess(self.arguments, self.process.exitcode or 0, out, err)


def handful(
    home: Path, *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, with `home` as HANDFUL_HOME."""
    return Command(*arguments, environment={"HANDFUL_HOME": str(home), **environment}, cwd=cwd).wait()


def python(home: Path, code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code to its end, with `home` as HANDFUL_HOME, in an interpreter that has imported what commands import."""
    return Command("-c", code, environment={"HANDFUL_HOME": str(home), **environment}, cwd=cwd).wait()


def _run(arguments: list[str], environment: dict[str, str], cwd: Path, outputs: list[str]) -> None:
    from handful.__main__ import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for descriptor, path in enumerate(outputs, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, encoding="utf-8") for descriptor in (1, 2))
    sys.argv = ["handful", *arguments]
    if arguments[:1] == ["-c"]:
        exec(arguments[1], {"__name__": "__main__"})  # noqa: S102 - the code of a test
    else:
        main()
