"""The BentoML service: supervisor, workers and packaging are BentoML's, every answer is `web.py`'s.

BentoML's own routes are not reached: they decode uploads themselves, fetch URLs found in them and
answer in other forms. So this middleware answers every HTTP request, and BentoML keeps the lifespan.
"""

from __future__ import annotations

import atexit
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

# read here because BentoML wants to know the workers when it imports this
settings = Settings.from_environ({"HANDFUL_MODEL": str(packed_model() or ""), **os.environ})
METRICS_FOLDER = "HANDFUL_METRICS_FOLDER"  # set by the supervisor; BentoML's own is shared by all services of a user


class Front:
    """Answers in BentoML's place; what runs beside the answers starts and ends with the lifespan."""

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
        from handful.service.api import Web  # loads torch, which the supervisor does without

        web = Web(settings)
        await stack.enter_async_context(web.running())
        self._answer = web.app


def _set_threads() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # or idle threads of the network take the decoders' cores
    import torch
    from handful.service.compute.device import cpu_count

    torch.set_num_threads(max(1, cpu_count() // settings.workers))


@bentoml.service(
    name="handful",
    workers=settings.workers,
    traffic={"timeout": settings.body_seconds + settings.answer_seconds + 10},  # ours end sooner, and say so
    http={"host": "0.0.0.0" if settings.api_key else "127.0.0.1"},  # noqa: S104 - only with a key
    metrics={"enabled": False},  # its series are labelled with whatever path a client invents
    logging={"access": {"enabled": False}},
)
class ImageClassifier:
    """Tells labels apart in images; `GET /openapi.json` describes its calls."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # bentoml types it only in part
    def prepare() -> None:
        """In the supervisor, before there are workers."""
        announce_supervisor()
        folder = tempfile.mkdtemp(prefix="handful-metrics-")
        os.environ[METRICS_FOLDER] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


ImageClassifier.add_asgi_middleware(Front)  # type: ignore[attr-defined]  # the decorator has made it a Service


def serve_http(host: str, port: int) -> None:
    """What `bentoml serve service.app:ImageClassifier` does; returns when it has been stopped."""
    service: Any = ImageClassifier  # the decorator has made it one
    for name in ("HANDFUL_HOME", "HANDFUL_MODEL", "HANDFUL_FEEDBACK"):
        if folder := os.environ.get(name):
            os.environ[name] = str(Path(folder).expanduser().resolve())  # the workers run in another folder
    os.chdir(IMPORT_ROOT)  # where the workers import this package from, and not the folder of the person who serves
    service.working_dir = str(IMPORT_ROOT)
    service.serve_http(host=host, port=port)
