"""The BentoML service: BentoML supervises, starts workers and packages; `api.py` gives every answer.

BentoML's own routes would decode uploads themselves, fetch URLs found in them and answer in another format. So a
middleware answers every HTTP request in BentoML's place, and leaves only the lifespan to it. `ImageClassifier` says in
BentoML's terms what the routes take and give, which BentoML's clients read from `/schema.json`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import bentoml
from bentoml._internal.utils import circus
from bentoml.exceptions import InvalidArgument, ServiceUnavailable
from handful.service.bento import packed_model
from handful.service.compute.device import cpu_count, set_threads
from handful.service.http.errors import NotReady
from handful.service.http.schemas import ErrorBody, PredictionBody, error_body
from handful.service.import_root import IMPORT_ROOT
from handful.service.lean.engines import is_lean
from handful.service.lean.onnx_file import installed_runtimes
from handful.service.serving.connections import accept_few_at_once, bound_connections, set_limits, watch_connections
from handful.service.serving.forked import leave
from handful.service.serving.shutdown import announce_supervisor, cap_drain, end_with_supervisor, log_again
from handful.service.serving.supervisor import supervised
from handful.service.serving.watchdog import show_life
from handful.service.settings import Settings
from prometheus_client import values
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from handful.service.api import Api

logger = logging.getLogger(__name__)
# read at import, because BentoML then needs the number of workers
settings = Settings.from_environ()
if settings.model is None and settings.follow is None:
    settings = settings.model_copy(update={"model": packed_model()})
# else BentoML tells of its own beginning and end; a filter stays when it sets up its logs
logging.getLogger("bentoml.serve").addFilter(lambda record: record.levelno >= logging.WARNING)
METRICS_FOLDER = "HANDFUL_METRICS_FOLDER"  # set by the supervisor; all services of a user share BentoML's own folder
START_SECONDS = 120.0  # until a worker without a loaded model accepts connections all the same, to say so


class Front:
    """Answers in place of BentoML. Background tasks start and end with the lifespan."""

    api: ClassVar[Api | None] = None  # of this process, once it serves

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answer: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (self._answer or _not_started)(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        last = list[Message]()

        async def send_but_the_last(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                last.append(message)  # once it is sent, uvicorn ends the process: the last spans would be lost
            else:
                await send(message)

        async with AsyncExitStack() as stack:
            try:
                await self._start(stack)
            except Exception:
                logger.exception("The service cannot start.")
                # uvicorn would go on without it, and BentoML's routes would answer
                await send({"type": "lifespan.startup.failed"})
                return
            # requests come here directly from now on: one of BentoML's middlewares would answer in its own form
            # after a time limit of its own
            scope["app"].middleware_stack = self
            await self.app(scope, receive, send_but_the_last)
        for message in last:
            await send(message)

    async def _start(self, stack: AsyncExitStack) -> None:
        """The worker accepts connections once this returns; until then, they wait or go to another worker."""
        log_again()
        end_with_supervisor()
        cap_drain(settings.drain_seconds)
        _beside(stack, show_life())
        _import_api()
        set_threads(max(1, cpu_count() // settings.workers))
        from handful.service.api import Api

        service: Any = ImageClassifier  # the decorator has made it one
        api = Api(settings, service.schema())
        set_limits(settings.head_seconds, settings.max_connections, lambda e: api.metrics.errors.labels(e.code).inc())
        accept_few_at_once(asyncio.get_running_loop())
        _beside(stack, watch_connections())
        await stack.enter_async_context(api.running())
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await api.champion.tried.wait()
        Front.api, self._answer = api, api.app


async def _not_started(scope: Scope, receive: Receive, send: Send) -> None:
    """Never BentoML's routes: they fetch URLs that clients send."""
    error = NotReady("The service is starting.")
    await JSONResponse(error_body(error.code, str(error)), error.status, error.headers)(scope, receive, send)


def _beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    stack.callback(asyncio.get_running_loop().create_task(work).cancel)


def _preload() -> None:
    """In the supervisor, where workers are its forks: what they need, torch only if the default model needs it."""
    _import_api()
    from handful.service.serving.champion import torch_answers_first

    if torch_answers_first(settings):
        import_module("handful.service.classifier")


def _import_api() -> None:
    """Imports what answers, but for the classifier on torch: a worker that needs it imports it with its model."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else idle threads of the network keep cores from the decoders
    if METRICS_FOLDER in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ[METRICS_FOLDER]
        # it looked at the variable when it was imported
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # it has types only in part
    runtime = installed_runtimes()[:1] if is_lean(settings.model) else []
    for module in ("_bentoml_impl.worker.service", "handful.service.api", *runtime):
        import_module(module)


@bentoml.service(
    name="handful",
    workers=settings.workers,
    http={"host": "0.0.0.0" if settings.api_key else "127.0.0.1"},  # noqa: S104 - only with a key
    metrics={"enabled": False},  # BentoML labels its series with any path that a client invents
    logging={"access": {"enabled": False}},
)
class ImageClassifier:
    """Classifies images; `GET /docs` shows all of its calls.

    Batches and jobs are this project's own: BentoML's batching let a lone request wait (93 ms against 12) and fails a
    whole batch for one bad image, and its tasks forget every job when the server starts.
    """

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml types it only in part
    async def predict(self, image: Path) -> PredictionBody:
        """The answer for one image."""
        (answer,) = await _answers([image])
        if "error" in answer:
            raise InvalidArgument(ErrorBody.model_validate(answer).error.message)
        return PredictionBody.model_validate(answer)

    @bentoml.api  # type: ignore[untyped-decorator]  # bentoml types it only in part
    async def predict_many(self, images: list[Path]) -> list[PredictionBody | ErrorBody]:
        """An answer, or an error, for each image, in their order."""
        answers = await _answers(images)
        return [(ErrorBody if "error" in each else PredictionBody).model_validate(each) for each in answers]

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # bentoml types it only in part
    def prepare() -> None:
        """Runs in the supervisor, before it starts workers."""
        log_again()
        announce_supervisor()
        folder = tempfile.mkdtemp(prefix="handful-metrics-")
        os.environ[METRICS_FOLDER] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


async def _answers(images: Sequence[Path]) -> list[dict[str, object]]:
    """As over HTTP, to code in a process that serves; over HTTP the routes call the same."""
    if Front.api is None:
        raise ServiceUnavailable("The service does not run in this process; `handful serve` starts it.")
    return await Front.api.serving.answers([await asyncio.to_thread(image.read_bytes) for image in images])


ImageClassifier.add_asgi_middleware(Front)  # type: ignore[attr-defined]  # the decorator has made it a Service
bound_connections()
# BentoML has no parameter for either; both are looked up when it starts its supervisor
for _name in ("Arbiter", "ThreadedArbiter"):
    setattr(circus, _name, supervised(getattr(circus, _name), settings, _preload))


def serve_http(host: str, port: int) -> NoReturn:
    """Does what `bentoml serve service.app:ImageClassifier` does, and ends this process once it has been stopped."""
    service: Any = ImageClassifier  # the decorator has made it one
    for name in ("HANDFUL_HOME", "HANDFUL_MODEL", "HANDFUL_FEEDBACK"):
        if folder := os.environ.get(name):
            os.environ[name] = str(Path(folder).expanduser().resolve())  # the workers run in another folder
    os.chdir(IMPORT_ROOT)  # workers import this package from here, whatever lies in the folder of the caller
    service.working_dir = str(IMPORT_ROOT)
    service.serve_http(host=host, port=port)
    leave()
