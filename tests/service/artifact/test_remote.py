"""What is fetched from addresses, and when it is not."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import Future

from handful.service.artifact.remote import fetching


def test_what_was_given_to_fetch_is_fetched_though_nothing_follows() -> None:
    busy = threading.Event()
    with fetching(1) as pool:
        pool.submit(busy.wait, 30)
        last = pool.submit(lambda: b"photo")
    busy.set()
    assert last.result(30) == b"photo"


def test_nothing_more_is_fetched_for_who_has_stopped() -> None:
    busy, waiting = threading.Event(), list[Future[bool]]()

    def photos() -> Generator[None]:
        with fetching(1) as pool:
            threading.Timer(0.1, busy.set).start()
            waiting.extend(pool.submit(busy.wait, 30) for _ in range(3))
            yield

    taken = photos()
    next(taken)
    taken.close()
    assert [each.cancelled() for each in waiting] == [False, True, True]
