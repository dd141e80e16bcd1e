"""A replica: one model of this store is kept at the champion of an address (HANDFUL_FOLLOW).

A thread of one worker looks at the pointer there, takes a version that is new, verifies it and makes it the champion
here; the workers then load it as any new champion (`serving/champion.py`). What is here already is not fetched again.
Whatever goes wrong, the version in use goes on answering and the next look comes, later and later while it fails.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from handful.service.artifact.atomic import try_lock
from handful.service.artifact.errors import ArtifactError, HandfulError, StoreError
from handful.service.artifact.folder import read_card
from handful.service.artifact.store import Store
from handful.service.http.metrics import FollowMetrics, ServiceMetrics
from handful.service.models.remote_model import RemoteModel
from handful.service.models.remote_pull import copy_of, take
from handful.service.settings import Settings

logger = logging.getLogger(__name__)
LOCK = "follow.lock"  # of the one thread that follows, among all workers of this home
MOST_PAUSE_SECONDS = 15.0  # between two looks while they fail
KEPT_CHAMPIONS = 5  # the latest, so that going back fetches nothing; older ones would fill the disk


class Follower:
    """One per worker; of all workers one follows."""

    def __init__(self, settings: Settings, metrics: ServiceMetrics) -> None:
        self.url, self.name, self.seconds = settings.follow, settings.default_name or "", settings.follow_seconds
        self.metrics = FollowMetrics(metrics.registry) if self.url else None
        self._taken: tuple[str, Path] | None = None  # the digest of the champion there, and its copy here
        self._problem = ""  # empty: the last look succeeded
        self._failures = 0  # in a row

    async def follow(self) -> None:
        """Follows until it is cancelled. Its thread never holds up the end of the process: a store may be silent."""
        if self.url is None:
            return
        stop = threading.Event()
        threading.Thread(target=self._run, args=(stop,), name="follow", daemon=True).start()
        try:
            await asyncio.Event().wait()
        finally:
            stop.set()

    def _run(self, stop: threading.Event) -> None:
        lock: FileLock | None = None
        while not stop.is_set():
            try:
                lock = lock or self._lock()
                if lock:
                    self._look()
                    self._succeeded()
            except Exception as e:  # noqa: BLE001 - whatever it is, a later look may succeed
                self._failed(e)
            longest = max(self.seconds, MOST_PAUSE_SECONDS)
            stop.wait(min(longest, self.seconds * 2.0**self._failures) * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
        if lock:
            lock.release()

    def _lock(self) -> FileLock | None:
        models = Store().models
        models.mkdir(parents=True, exist_ok=True)
        return try_lock(models.parent / LOCK)

    def _look(self) -> None:
        """Raises whatever the store, the disk or the version have wrong with them."""
        remote, store = RemoteModel(str(self.url), hasty=True), Store()
        ref = remote.champion()
        if ref is None:
            raise StoreError(f"{self.url} has no champion yet; `handful models push NAME {self.url}` brings one.")
        if self._taken is None or self._taken[0] != ref.digest or not self._taken[1].is_dir():
            path = copy_of(store, self.name, ref) or take(remote, ref, store, self.name, ref.number)
            self._taken = ref.digest, path
        path = self._taken[1]
        if store.champion(self.name) != path.name:
            self._promote(store, path)
            logger.warning("%s:%s is the champion at %s, and here now", self.name, path.name, self.url)
            self._drop_old(store)

    def _promote(self, store: Store, path: Path) -> None:
        """A copy that the disk has damaged is deleted, so that the next look fetches it again."""
        try:
            store.promote(self.name, path.name)
        except ArtifactError:
            self._taken = None
            with suppress(HandfulError):
                store.delete(self.name, path.name)
            raise

    def _drop_old(self, store: Store) -> None:
        """Deletes what was taken from the address and was champion longest ago."""
        kept = [store.champion(self.name), *store.earlier_champions(self.name)][:KEPT_CHAMPIONS]
        for version in store.versions(self.name):
            with suppress(ArtifactError, OSError):
                origin = read_card(store.path(self.name, version)).origin
                if version not in kept and origin and origin.repo == str(self.url).rstrip("/"):
                    store.delete(self.name, version)

    def _succeeded(self) -> None:
        if self._failures:
            logger.warning("%s answers again", self.url)
        self._problem, self._failures = "", 0
        if self.metrics:
            self.metrics.up.set(1)
            self.metrics.seen.set(time.time())

    def _failed(self, error: Exception) -> None:
        """Says so once until it has succeeded again, and anew where a version there, not the store, is at fault."""
        self._failures = min(self._failures + 1, 30)
        if self.metrics:
            self.metrics.up.set(0)
            self.metrics.failures.inc()
        problem = type(error).__name__
        if problem != self._problem:
            here = ""
            with suppress(OSError):  # the disk may be what is at fault
                champion = Store().champion(self.name)
                here = f"; {self.name}:{champion} goes on answering" if champion else ""
            known = isinstance(error, HandfulError | OSError)
            logger.warning(
                "%s cannot be followed now, and is tried again for ever%s: %s",
                *(self.url, here, error),
                exc_info=not known,
            )
        self._problem = problem
