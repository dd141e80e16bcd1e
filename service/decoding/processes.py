"""A worker's decoders as it holds them: started in milliseconds, asked with a time limit, killed and replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from multiprocessing.connection import Connection

import numpy as np
from handful.service.artifact.errors import ImageError, ImageTooComplex, ImageUnreadable
from handful.service.decoding.messages import (
    ERROR,
    LARGE,
    NO_MEMORY,
    PIXELS,
    THUMBNAIL,
    Task,
    decoded_error,
    encoded_task,
)
from handful.service.import_root import IMPORT_ROOT
from numpy.typing import NDArray

MODULE = "handful.service.decoding"
# Large pieces of memory go back to the system at once, whatever lies behind them.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "8000000", "MALLOC_TRIM_THRESHOLD_": "16000000", "OPENBLAS_NUM_THREADS": "1"}
PID_BYTES = 4
SMALL_BYTES = 64_000_000  # of memory per decoder; a camera's JPEG of 24 megapixels needs a quarter of this
SMALL_LANE_BYTES = 512_000_000  # of all decoders together
START_SECONDS = 60.0


class Reason(Enum):
    """Why a decoder ended."""

    TIME = "time"
    MEMORY = "memory"
    CRASH = "crash"


class DecoderLost(Exception):
    """The process has ended, and has not decoded the image."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def refusal(reason: Reason, seconds: float) -> ImageError:
    """What an image is told that costs its decoder's life."""
    if reason is Reason.TIME:
        return ImageTooComplex(f"Decoding the image takes more than {seconds:g} seconds, which is the limit.")
    if reason is Reason.MEMORY:
        return ImageTooComplex("Decoding the image takes more memory than a picture of its size should take.")
    return ImageUnreadable("The image is damaged: it crashes the decoder.")


class LargeImage(Exception):
    """Decoding the image takes more than was granted: so many bytes, or longer."""

    def __init__(self, held_bytes: int) -> None:
        super().__init__(held_bytes)
        self.held_bytes = held_bytes


class DecoderProcess:
    """One decoder; it decodes one image at a time."""

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid, self.connection = pid, connection

    def ask(self, task: Task, image: bytes, seconds: float) -> NDArray[np.uint8]:
        """The `(S, S, 3)` picture, empty if only a check was asked for, or a thumbnail's bytes `(B,)`.

        Raises an `ImageError` or `LargeImage`. Also raises `DecoderLost`: `seconds` by the clock have passed, or the
        process has ended by itself, as it does when it has computed for longer than its task allows.
        """
        started = time.monotonic()
        try:
            self.connection.send_bytes(encoded_task(task))
            self.connection.send_bytes(image)
            answer = self.connection.recv_bytes(task.answer_bytes) if self.connection.poll(seconds) else b""
        except (EOFError, OSError) as e:
            self.kill()
            raise DecoderLost(Reason.TIME if time.monotonic() - started > task.seconds else Reason.CRASH) from e
        return self._picture(task, answer)

    def _picture(self, task: Task, answer: bytes) -> NDArray[np.uint8]:
        kind, content = answer[:1], memoryview(answer)[1:]
        if kind == PIXELS:
            side = task.preprocessing.side_pixels if task.preprocessing else 0
            return np.frombuffer(content, np.uint8).reshape(side, side, 3)
        if kind == THUMBNAIL and task.thumbnail_side:
            return np.frombuffer(content, np.uint8)
        if kind == LARGE:
            raise LargeImage(int(bytes(content)))
        if kind == ERROR:
            raise decoded_error(bytes(content))
        self.kill()
        raise DecoderLost(Reason.MEMORY if kind == NO_MEMORY else Reason.TIME)

    @property
    def ended(self) -> bool:
        """Whether it is gone although nothing was asked: the system may have killed it for its memory."""
        return self.connection.poll(0)

    def kill(self) -> None:
        self.connection.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class DecoderSource:
    """The process that decoders are forked from, started again if it is lost. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process, self._socket = _start()

    def decoder(self, niceness: int) -> DecoderProcess:
        """A new one. Raises OSError if the system allows no process."""
        ours, theirs = socket.socketpair()
        with self._lock, ours, theirs:
            pid = self._fork(theirs, niceness)
            return DecoderProcess(pid, Connection(ours.detach()))

    def _fork(self, theirs: socket.socket, niceness: int) -> int:
        for attempt in range(2):
            with suppress(OSError):
                socket.send_fds(self._socket, [bytes([niceness])], [theirs.fileno()])
                if pid := self._socket.recv(PID_BYTES, socket.MSG_WAITALL):
                    return int.from_bytes(pid)
            self.close()
            if attempt == 0:
                self._process, self._socket = _start()
        raise OSError("No process to decode images in can be started.")

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()


class OwnDecoders:
    """A decoder for each thread that asks, replaced when it is lost."""

    def __init__(self, source: DecoderSource, niceness: int) -> None:
        self._source, self._niceness, self._own = source, niceness, threading.local()
        self._lock, self._all = threading.Lock(), set[DecoderProcess]()

    def ask(self, task: Task, image: bytes, seconds: float) -> NDArray[np.uint8]:
        """As `DecoderProcess.ask`. Raises OSError if the system allows no process."""
        process: DecoderProcess | None = getattr(self._own, "process", None)
        if process and process.ended:
            self.end_own()
            process = None
        if process is None:
            self._own.process = process = self._source.decoder(self._niceness)
            with self._lock:
                self._all.add(process)
        try:
            return process.ask(task, image, seconds)
        except DecoderLost:
            self.end_own()
            raise

    def end_own(self) -> None:
        """Ends the decoder of this thread, if there is one."""
        process: DecoderProcess | None = getattr(self._own, "process", None)
        if process:
            self._own.process = None
            with self._lock:
                self._all.discard(process)
            process.kill()

    def end_all(self) -> None:
        """Not while one is asked."""
        with self._lock:
            for process in self._all:
                process.kill()
            self._all.clear()


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    process, ours = start_process(MODULE, {**os.environ, **ENVIRONMENT})
    ours.settimeout(START_SECONDS)
    return process, ours


def start_process(module: str, environ: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A new interpreter that runs a module of ours, whose argument is the descriptor of the other end of the socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - no part of it comes from a request
            (sys.executable, "-m", module, str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            env=environ,
            cwd=IMPORT_ROOT,
            stdin=subprocess.DEVNULL,
        )
    return process, ours
