"""The worker's side of the process that explains: started when first asked, limited in time, ended when idle.

Looking into a network's layers needs torch, which would stay in the worker's memory for ever, and slow its answers
while it is imported.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from handful.service.decoding.processes import start_process
from handful.service.explain.messages import PICTURE, READY, REFUSED, ExplainTask
from handful.service.http.errors import Overloaded
from handful.service.http.model_errors import ExplainRefused
from handful.service.serving.champion import LoadedVersion
from handful.service.serving.shutdown import SUPERVISOR

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODULE = "handful.service.explain"
START_SECONDS = 180.0  # to import torch at low priority on a machine under load; three are enough on a quiet one
ANSWER_BYTES = 50_000_000
PATIENCE = 0.9  # of the time that the service has to answer, after which a request is told why it has no picture yet
SECRETS = {"HANDFUL_API_KEY", "HANDFUL_PREDICT_KEY", "HANDFUL_LABEL_STUDIO_KEY"}


class Explainer:
    """One per worker. Its one thread alone uses the process, which explains one answer at a time on one core."""

    def __init__(self, seconds: float, idle_seconds: float) -> None:
        """It has so many seconds per picture; after so many without a request the process ends."""
        self.seconds, self.idle_seconds = seconds, idle_seconds
        self._thread = ThreadPoolExecutor(1, "explain")
        self._process: _Process | None = None
        self._asked = 0
        self._timer: asyncio.TimerHandle | None = None

    async def picture(self, version: LoadedVersion, seen: NDArray[np.uint8], photo: bytes) -> bytes:
        """A PNG. `seen` is the `(S, S, 3)` picture that the network sees, `photo` the file that is drawn.

        Raises `ExplainRefused` or `Overloaded`.
        """
        loop = asyncio.get_running_loop()
        self._asked += 1
        try:
            async with asyncio.timeout(self.seconds * PATIENCE):
                return await loop.run_in_executor(self._thread, self._explain, version, seen, photo)
        except TimeoutError as e:
            raise Overloaded(self._why_not_yet()) from e
        finally:
            if self._timer:
                self._timer.cancel()
            self._timer = loop.call_later(self.idle_seconds, self._end_soon, self._asked)

    def close(self) -> None:
        """Ends the process; nothing is explained from now on."""
        if self._timer:
            self._timer.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._process:
            self._process.kill()  # a thread that waits for its answer sees that it has ended

    def _why_not_yet(self) -> str:
        if self._process is None or not self._process.ready:
            return "The process that explains is still being started; try again in a few seconds."
        return f"The explanation was not drawn within {self.seconds:g} seconds; the service is full."

    def _end_soon(self, asked: int) -> None:
        with suppress(RuntimeError):  # closed
            self._thread.submit(self._end_if_idle, asked)

    def _end_if_idle(self, asked: int) -> None:
        if asked == self._asked:
            self._end()

    def _end(self) -> None:
        if self._process:
            self._process.end()
        self._process = None

    def _explain(self, version: LoadedVersion, seen: NDArray[np.uint8], photo: bytes) -> bytes:
        classifier = version.classifier
        (prediction,) = classifier.answer([classifier.prepare(seen)], 1)
        task = ExplainTask(
            path=version.path.absolute(),
            folder=version.folder,
            model=version.model,
            label=prediction.label,
            confidence=prediction.confidence,
            unknown=prediction.unknown,
            probabilities=prediction.probabilities,
        )
        return self._ask(task, seen.tobytes(), photo)

    def _ask(self, task: ExplainTask, seen: bytes, photo: bytes) -> bytes:
        is_new = self._process is None
        try:
            return self._started().ask(task, seen, photo, self.seconds)
        except TimeoutError as e:
            why = self._why_not_yet()
            self._end()  # and so it is not stuck for ever
            raise Overloaded(why) from e
        except (EOFError, OSError) as e:
            self._end()
            if is_new:
                raise Overloaded("The process that explains crashes, or cannot be started; try again later.") from e
        return self._ask(task, seen, photo)  # it was killed while it was idle, or just now

    def _started(self) -> _Process:
        """Raises TimeoutError, EOFError or OSError if none can be started."""
        if self._process and self._process.ended:
            self._end()
        if self._process is None:
            self._process = _Process()
            self._process.wait_until_ready()
        return self._process


class _Process:
    """As the worker holds it."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in SECRETS}
        environ = {**kept, SUPERVISOR: str(os.getpid()), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process, socket = start_process(MODULE, environ)
        self.process: subprocess.Popen[bytes] = process
        self.connection, self.ready = Connection(socket.detach()), False

    def wait_until_ready(self) -> None:
        """Raises TimeoutError, EOFError or OSError."""
        if self._next_message(START_SECONDS) != READY:
            raise EOFError
        self.ready = True

    def ask(self, task: ExplainTask, seen: bytes, photo: bytes, seconds: float) -> bytes:
        """A PNG. Raises `ExplainRefused`; TimeoutError, EOFError or OSError if there will be no answer."""
        for message in (task.model_dump_json().encode(), seen, photo):
            self.connection.send_bytes(message)
        answer = self._next_message(seconds)
        if answer[:1] == REFUSED:
            raise ExplainRefused(answer[1:].decode())
        if answer[:1] != PICTURE:
            raise RuntimeError(f"{task.model} could not be explained; what was printed before says why.")
        return answer[1:]

    def _next_message(self, seconds: float) -> bytes:
        if not self.connection.poll(seconds):
            raise TimeoutError
        return self.connection.recv_bytes(ANSWER_BYTES)

    @property
    def ended(self) -> bool:
        """Whether it is gone although nothing was asked: the system may have killed it for its memory."""
        return self.connection.poll(0)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Not while another thread waits for its answer."""
        self.kill()
        self.connection.close()
