"""How much of one thing a worker may hold at once. A request that does not fit is refused, never kept waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
