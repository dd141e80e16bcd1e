"""How much of one thing a worker may hold at once: what does not fit is refused, or waits for its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from handful.service.http.errors import Overloaded


class Capacity:
    """A count with a limit. It lives in one event loop, so it needs no lock."""

    def __init__(self, limit: int, unit: str) -> None:
        self.limit, self.unit, self.used = limit, unit, 0

    @contextmanager
    def reserve(self, count: int = 0) -> Iterator[Reservation]:
        """Everything reserved in the block is given back when it ends; raises `Overloaded` if it does not fit."""
        reservation = Reservation(self)
        try:
            reservation.add(count)
            yield reservation
        finally:
            self.used -= reservation.count


class Reservation:
    """The part of a capacity that one request holds."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity, self.count = capacity, 0

    def add(self, count: int) -> None:
        """Raises `Overloaded` if the capacity's limit would be exceeded."""
        capacity = self.capacity
        if capacity.used + count > capacity.limit:
            raise Overloaded(f"The service is full ({capacity.limit} {capacity.unit} at once); try again in a second.")
        capacity.used += count
        self.count += count


class Admission:
    """Images that are accepted and not yet answered: limited in number, each answered within a time."""

    def __init__(self, most_images: int, seconds: float) -> None:
        self.waiting, self.seconds = Capacity(most_images, "images"), seconds

    @asynccontextmanager
    async def admit(self, images: int) -> AsyncIterator[None]:
        """Raises `Overloaded` if there are too many, or if the block takes too long."""
        with self.waiting.reserve(images):
            try:
                async with asyncio.timeout(self.seconds):
                    yield
            except TimeoutError as e:
                raise Overloaded(f"No answer within {self.seconds:g} seconds; the service is full.") from e


class Budget:
    """A count with a limit, of which a part is taken when it is free: first come, first served. In one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, count: int) -> None:
        """Waits until so much is free; more than the limit takes all of it."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((min(count, self.limit), turn))
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(count)
            self._admit()
            raise

    def give_back(self, count: int) -> None:
        self.used -= min(count, self.limit)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self.used + self._waiting[0][0] <= self.limit):
            count, turn = self._waiting.popleft()
            if not turn.done():
                self.used += count
                turn.set_result(None)
