"""An object store on loopback: moto's S3, behind a server that on request answers 503 or cuts the connection.

Needs moto and s3fs; a module that uses it begins with `pytest.importorskip`.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest


class Faults:
    """Which keys fail, how, and how often; and what was asked for."""

    def __init__(self) -> None:
        self.unavailable: Counter[str] = Counter()  # end of the path -> answers of 503 that are left
        self.cut: Counter[str] = Counter()  # end of the path -> bodies that are still to be cut off
        self.denied: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.held: set[str] = set()  # ends of paths that are not answered until `release` is set
        self.release = threading.Event()
        self.share = 0.0  # of all requests that fail, whatever they ask for: half of them by 503, half by a cut body
        self._chance = random.Random(0)
        self._lock = threading.Lock()

    def by_chance(self) -> float | None:
        """Between 0 and 1 for a request that is to fail."""
        with self._lock:
            drawn = self._chance.random()
        return drawn / self.share if drawn < self.share else None

    def take(self, left: Counter[str], path: str) -> bool:
        with self._lock:
            name = next((name for name, count in left.items() if count and path.endswith(name)), None)
            if name:
                left[name] -= 1
            return name is not None


def faulty(app: Any, faults: Faults) -> Any:
    """The application with faults in front of it."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        with faults._lock:
            faults.asked[f"{method} {path}"] += 1
        if any(path.endswith(name) for name in faults.held):
            faults.release.wait(60)
        if any(path.endswith(name) for name in faults.denied):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"]
        bad = faults.by_chance()
        if faults.take(faults.unavailable, path) or (bad is not None and (bad < 0.5 or method != "GET")):
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>busy</Message></Error>"]
        body = app(environ, start_response)
        if method == "GET" and (bad is not None or faults.take(faults.cut, path)):
            return [b"".join(body)[:100]]  # fewer bytes than were announced
        return body

    return answer


@contextmanager
def object_store(bucket: str = "photos") -> Iterator[tuple[Faults, Any]]:
    """The faults, and s3fs's file system on a new bucket."""
    import s3fs  # type: ignore[import-untyped]  # it ships no types
    from handful.service.artifact import remote
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    faults = Faults()
    server = make_server("127.0.0.1", 0, faulty(DomainDispatcherApplication(create_backend_app), faults), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            environment.delenv(name)
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("NO_PROXY", "127.0.0.1")
        remote._filesystem.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()
        store = s3fs.S3FileSystem()
        store.mkdir(bucket)
        try:
            yield faults, store
        finally:
            remote._filesystem.cache_clear()
            s3fs.S3FileSystem.clear_instance_cache()
            server.shutdown()
            server.server_close()
