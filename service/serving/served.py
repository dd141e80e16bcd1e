"""Every model of the store, ready when it is asked for: the default one always, others loaded at their first request.

Models are kept until their number or their memory exceeds its limit; then the one that was not asked for longest gives
way, and what still computes with it keeps it until it has answered. One model is loaded at a time.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from handful.service.artifact.errors import ArtifactError, ModelNotFound
from handful.service.artifact.folder import read_card
from handful.service.artifact.names import can_be_name
from handful.service.artifact.store import Store
from handful.service.http.filenames import quoted
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.model_errors import ModelTooLarge
from handful.service.serving.champion import ChampionWatcher, LoadedVersion, estimated_bytes
from handful.service.settings import Settings

MOST_LOOKS = 5  # at a model that is renamed, deleted or brought back while it is loaded
R = TypeVar("R")


class ServedModels:
    """One per worker. It lives in one event loop; what touches the disk runs in threads."""

    def __init__(self, settings: Settings, metrics: ServiceMetrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.default = ChampionWatcher(settings, metrics)
        self.most_bytes = int(settings.max_model_megabytes * 1e6)
        self._others: OrderedDict[str, ChampionWatcher] = OrderedDict()  # the one asked for last is last
        self._loads: dict[str, asyncio.Task[ChampionWatcher]] = {}
        self._measured: dict[str | None, int] = {}  # architecture -> bytes that one such model took
        self._turn = asyncio.Lock()
        self._loader = ThreadPoolExecutor(1, "models")
        self._disk = ThreadPoolExecutor(2, "names")

    def loaded(self) -> frozenset[str]:
        """The models in memory that the store still has."""
        others = {name for name, watcher in self._others.items() if watcher.ready}
        return frozenset({*others, *filter(None, [self.default_name])})

    @property
    def default_name(self) -> str | None:
        """None where there is no default model, or it was deleted."""
        return None if self.default.missing or not self.default.ready else self.default.name

    def _is_default(self, name: str) -> bool:
        return name == self.default.name and not self.default.missing

    async def check(self, name: str) -> None:
        """Raises `ModelUnknown` for a name without a version, before anything is loaded."""
        if not self._is_default(name) and name not in self._others:
            await self._beside(champion_of, name)

    async def version(self, name: str) -> LoadedVersion:
        """Raises `ModelUnknown`, `ModelTooLarge` or, for a version that does not load, `NotReady`."""
        if self._is_default(name):
            return self.default.current
        watcher = self._others.get(name)
        if watcher is None or not watcher.ready:
            watcher = await self._load(name)
        else:
            self._others.move_to_end(name)
        return watcher.current

    async def follow(self) -> None:
        """Follows the champion of each model in memory, until it is cancelled."""
        await asyncio.gather(self.default.follow(), self._follow_others())

    def forget(self, name: str) -> None:
        """After it was renamed or deleted here; other workers see so at their next look."""
        self._others.pop(name, None)
        if self._is_default(name) and self.default.fixed is None:
            self.default.missing = True  # until the next look, which finds it where it was only renamed

    async def _follow_others(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            for name in list(self._others):
                async with self._turn:
                    watcher = self._others.get(name)
                    if watcher is None:
                        continue
                    await watcher.look()
                    if watcher.missing:
                        self.forget(name)
                    self._make_room(0, 0)

    async def _load(self, name: str) -> ChampionWatcher:
        """Whoever asks for a model that is being loaded waits for it; it is loaded even if all of them give up."""
        task = self._loads.get(name)
        if task is None:
            task = self._loads[name] = asyncio.create_task(self._in_turn(name))
            task.add_done_callback(lambda done: self._loaded(name, done))
        return await asyncio.shield(task)

    def _loaded(self, name: str, done: asyncio.Task[ChampionWatcher]) -> None:
        self._loads.pop(name, None)
        if not done.cancelled():
            done.exception()  # perhaps nobody waits for it any more

    async def _in_turn(self, name: str) -> ChampionWatcher:
        async with self._turn:
            needed = await self._beside(self._needed_bytes, name)
            if self._make_room(1, needed):
                await asyncio.get_running_loop().run_in_executor(self._loader, _give_memory_back)
            watcher = self._others.pop(name, None) or ChampionWatcher(self.settings, self.metrics, name, self._loader)
            for _ in range(MOST_LOOKS):
                await watcher.look()
                if not watcher.moved:
                    break
            if watcher.missing or watcher.moved:
                raise unknown_model(name)
            self._others[name] = watcher  # even if it did not load: it is not tried again at once
            if watcher.ready:
                card = watcher.current.classifier.card
                self._measured[card.backbone.architecture] = watcher.current.held_bytes
                self._make_room(0, 0)
        return watcher

    def _needed_bytes(self, name: str) -> int:
        """What the model will take: as much as another one with such a network, if there was one."""
        path = champion_of(name)
        try:
            architecture = read_card(path).backbone.architecture
        except (ArtifactError, OSError):  # loading it will say why
            architecture = None
        return max(estimated_bytes(path), self._measured.get(architecture, 0))

    def _make_room(self, models: int, needed_bytes: int) -> bool:
        """Whether models had to give way for so many more. Raises `ModelTooLarge`."""
        watchers = [watcher for watcher in (self.default, *self._others.values()) if watcher.ready]
        held_bytes = sum(watcher.current.held_bytes for watcher in watchers)
        default_bytes = self.default.current.held_bytes if self.default.ready else 0
        if default_bytes + needed_bytes > self.most_bytes and models:
            raise ModelTooLarge(
                f"The model takes about {needed_bytes / 1e6:.0f} MB of memory beside the default one;"
                f" HANDFUL_MAX_MODEL_MEGABYTES, {self.settings.max_model_megabytes:g}, allows"
                f" {max(0, self.most_bytes - default_bytes) / 1e6:.0f}."
            )
        gave_way = False
        while (len(self._others) > 1 or (self._others and models)) and (
            1 + len(self._others) + models > self.settings.max_models or held_bytes + needed_bytes > self.most_bytes
        ):
            _, watcher = self._others.popitem(last=False)
            held_bytes -= watcher.current.held_bytes if watcher.ready else 0
            gave_way = True
        return gave_way

    async def _beside(self, work: Callable[[str], R], name: str) -> R:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, work, name)
        except FileNotFoundError as e:  # renamed or deleted at this moment
            raise unknown_model(name) from e


def champion_of(name: str) -> Path:
    """The folder of a model's version that answers. Raises `ModelUnknown`."""
    if not can_be_name(name):
        raise unknown_model(name)
    try:
        return Store().champion_path(name)
    except ModelNotFound as e:
        raise unknown_model(name) from e


def unknown_model(name: str) -> ModelUnknown:
    return ModelUnknown(f"There is no model {quoted(name)} that can answer; GET /models lists those there are.")


def _give_memory_back() -> None:
    """What a model held goes back to the system: modules refer to each other, and glibc keeps what was freed."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
