"""The keys that clients send: how one is checked, and how guessing is slowed.

A right key is always answered at once, as many clients may share one address (a proxy's, a company's). Wrong keys from
one address are slowed: a few are answered at once, further ones after a pause, and those beyond the places for pauses
are refused. What is remembered is bounded, however many addresses send wrong keys.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from handful.service.http.errors import KeyWrong, TooManyWrongKeys
from starlette.datastructures import Headers

FREE_WRONG_KEYS = 20  # per address, answered at once; one more is free after each pause
PAUSE_SECONDS = 1.0
MAX_ADDRESSES = 4096  # remembered; the one that was silent longest is forgotten first
MAX_PAUSED = 32  # answers held back at once per worker, as each holds a connection
IPV6_NETWORK = 64  # bits: one customer of a provider has all addresses below them

Access = Literal["ask", "change"]  # what a caller may do; who may change may ask, too


class Keys:
    """Checks the key of each request; one per worker. Those of `asking` may only ask."""

    def __init__(self, keys: Sequence[str], asking: Sequence[str] = ()) -> None:
        self._keys: list[tuple[bytes, Access]] = [
            *((key.encode(), "change") for key in keys),
            *((key.encode(), "ask") for key in asking),
        ]
        self._wrong = WrongKeyCounts()
        self._paused = 0

    async def check(self, headers: Headers, address: str, *, basic: bool = False) -> Access:
        """What the key allows, with `basic` also where it is sent as a password.

        Raises `KeyWrong`, perhaps after a pause, or `TooManyWrongKeys`.
        """
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        key = sent.strip(" ").encode("latin-1")
        if basic and scheme.lower() == "basic":
            scheme, key = "bearer", _password(key)
        if scheme.lower() == "bearer" and (access := self._access(key)):
            return access
        if sent and self._wrong.add(address):
            await self._pause()
        raise KeyWrong("The key is missing or wrong; `Authorization: Bearer KEY` is expected.")

    def _access(self, sent: bytes) -> Access | None:
        """Compares with every key in constant time."""
        right = [access for key, access in self._keys if hmac.compare_digest(sent, key)]
        return right[0] if right else None

    async def _pause(self) -> None:
        if self._paused >= MAX_PAUSED:
            raise TooManyWrongKeys("Too many wrong keys came from this address; try again in a second.")
        self._paused += 1
        try:
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._paused -= 1


def _password(sent: bytes) -> bytes:
    """Of basic authentication, in which the user may be called as one likes."""
    try:
        return base64.b64decode(sent, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


@dataclass
class _Count:
    free: float
    at: float


class WrongKeyCounts:
    """How many wrong keys each address may still send without being slowed. It lives in one event loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic, max_addresses: int = MAX_ADDRESSES) -> None:
        self._now, self._max_addresses = now, max_addresses
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def add(self, address: str) -> bool:
        """Counts one wrong key; True if the address has sent too many."""
        name, now = _network(address), self._now()
        count = self._counts.pop(name, None) or _Count(FREE_WRONG_KEYS, now)
        free = min(FREE_WRONG_KEYS, count.free + (now - count.at) / PAUSE_SECONDS)
        self._counts[name] = _Count(max(0.0, free - 1), now)
        if len(self._counts) > self._max_addresses:
            self._counts.popitem(last=False)
        return free < 1

    def __len__(self) -> int:
        return len(self._counts)


def _network(address: str) -> str:
    """What counts as one address: for IPv6 the whole network of one customer."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""  # all callers without an address are one
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), IPV6_NETWORK), strict=False))
    return str(parsed)
