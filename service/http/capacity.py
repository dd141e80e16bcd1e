"""Room: how much of one thing may be in the worker at once; who finds no room is told so at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from handful.service.http.errors import Overloaded


class Room:
    """A count with a limit; lives in one event loop, so it needs no lock."""

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.what, self.taken = limit, what, 0

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Whatever the lease took is given back when the block ends."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.taken -= lease.taken


class Lease:
    """One request's share of a room."""

    def __init__(self, room: Room) -> None:
        self.room, self.taken = room, 0

    def take(self, count: int) -> None:
        """Raises `Overloaded` where the room is full."""
        room = self.room
        if room.taken + count > room.limit:
            raise Overloaded(f"The service is full ({room.limit} {room.what} at once); try again in a second.")
        room.taken += count
        self.taken += count
