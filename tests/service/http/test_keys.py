"""Wrong keys are counted per address in a table that cannot grow."""

from __future__ import annotations

import asyncio
import threading

import pytest
from handful.service.http.body import SMALL_BYTES, off_loop
from handful.service.http.keys import FREE_WRONG_KEYS, MAX_ADDRESSES, WrongKeyCounts


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_address_has_some_wrong_keys_free_and_one_more_each_second() -> None:
    clock = Clock()
    counts = WrongKeyCounts(clock)
    assert [counts.add("10.0.0.1") for _ in range(FREE_WRONG_KEYS + 2)] == [False] * FREE_WRONG_KEYS + [True, True]
    assert not counts.add("10.0.0.2")
    clock.now = 1.0
    assert [counts.add("10.0.0.1") for _ in range(2)] == [False, True]
    clock.now = 1e6
    assert [counts.add("10.0.0.1") for _ in range(FREE_WRONG_KEYS + 1)] == [False] * FREE_WRONG_KEYS + [True]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("", "testclient", True),
    ],
)
def test_what_one_customer_has_is_one_address(one: str, other: str, same: bool) -> None:
    counts = WrongKeyCounts(Clock())
    for _ in range(FREE_WRONG_KEYS):
        counts.add(one)
    assert counts.add(other) is same


def test_the_table_is_bounded_and_forgets_who_was_silent_longest() -> None:
    counts = WrongKeyCounts(Clock())
    for number in range(2 * MAX_ADDRESSES):
        counts.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        for _ in range(FREE_WRONG_KEYS if number == 0 else 1):
            counts.add("172.16.0.1")
    assert len(counts) == MAX_ADDRESSES
    assert counts.add("172.16.0.1")
    assert not counts.add("10.0.0.0")


def test_a_large_body_is_parsed_beside_the_event_loop_and_a_small_one_in_it() -> None:
    """The parser waits for the event loop: in it, it would wait for ever."""
    turned = threading.Event()

    async def parse() -> tuple[bool, bool]:
        asyncio.get_running_loop().call_later(0.01, turned.set)
        beside = await off_loop(lambda: turned.wait(60), SMALL_BYTES + 1)
        loop_thread = threading.get_ident()
        return beside, await off_loop(lambda: threading.get_ident() == loop_thread, SMALL_BYTES)

    assert asyncio.run(parse()) == (True, True)
