"""The BentoML service: BentoML supervises, starts workers and packages; `api.py` gives every answer.

BentoML's own routes would decode uploads themselves, fetch URLs found in them and answer in another format. So a
middleware answers every HTTP request before BentoML does, and leaves only the lifespan to it.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import bentoml
from handful.service import IMPORT_ROOT
from handful.service.bento import packed_model
from handful.service.serving.shutdown import announce_supervisor, cap_drain, end_with_supervisor
from handful.service.settings import Settings
from starlette.types import ASGIApp, Receive, Scope, Send

# read at import, because BentoML then needs the number of workers
settings = Settings.from_environ()
if settings.model is None:
    settings = settings.model_copy(update={"model": packed_model()})
# else BentoML tells of its own beginning and end; a filter stays when it sets up its logs
logging.getLogger("bentoml.serve").addFilter(lambda record: record.levelno >= logging.WARNING)
METRICS_FOLDER = "HANDFUL_METRICS_FOLDER"  # set by the supervisor; all services of a user share BentoML's own folder


class Front:
    """Answers in place of BentoML. Background tasks start and end with the lifespan."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answer: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._answer:
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            async with AsyncExitStack() as stack:
                await self._start(stack)
                await self.app(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _start(self, stack: AsyncExitStack) -> None:
        end_with_supervisor()
        cap_drain(settings.drain_seconds)
        if METRICS_FOLDER in os.environ:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[METRICS_FOLDER]
        _set_threads()
        from handful.service.api import Api  # imports torch, which the supervisor does not need

        api = Api(settings)
        await stack.enter_async_context(api.running())
        self._answer = api.app


def _set_threads() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else idle threads of the network keep cores from the decoders
    import torch
    from handful.service.compute.device import cpu_count

    torch.set_num_threads(max(1, cpu_count() // settings.workers))


@bentoml.service(
    name="handful",
    workers=settings.workers,
    traffic={"timeout": settings.body_seconds + settings.answer_seconds + 10},  # our own limits end sooner
    http={"host": "0.0.0.0" if settings.api_key else "127.0.0.1"},  # noqa: S104 - only with a key
    metrics={"enabled": False},  # BentoML labels its series with any path that a client invents
    logging={"access": {"enabled": False}},
)
class ImageClassifier:
    """Classifies images; `GET /openapi.json` describes its calls."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # bentoml types it only in part
    def prepare() -> None:
        """Runs in the supervisor, before it starts workers."""
        announce_supervisor()
        folder = tempfile.mkdtemp(prefix="handful-metrics-")
        os.environ[METRICS_FOLDER] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


ImageClassifier.add_asgi_middleware(Front)  # type: ignore[attr-defined]  # the decorator has made it a Service


def serve_http(host: str, port: int) -> None:
    """Does what `bentoml serve service.app:ImageClassifier` does. Returns when the service has been stopped."""
    service: Any = ImageClassifier  # the decorator has made it one
    for name in ("HANDFUL_HOME", "HANDFUL_MODEL", "HANDFUL_FEEDBACK"):
        if folder := os.environ.get(name):
            os.environ[name] = str(Path(folder).expanduser().resolve())  # the workers run in another folder
    os.chdir(IMPORT_ROOT)  # workers import this package from here, whatever lies in the folder of the caller
    service.working_dir = str(IMPORT_ROOT)
    service.serve_http(host=host, port=port)
