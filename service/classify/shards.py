"""One of N parts of the photos, chosen by a hash of each path: a file that is added later moves no other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from handful.service.artifact.errors import UsageError

MOST_SHARDS = 1_000_000
_SHARD = re.compile(r"([0-9]{1,7})/([0-9]{1,7})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`; the first has the number 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From `3/16`; `UsageError` for anything else."""
        match = _SHARD.fullmatch(text.strip())
        shard = cls(int(match[1]), int(match[2])) if match else None
        if shard is None or not 1 <= shard.number <= shard.count <= MOST_SHARDS:
            raise UsageError(f"Got the shard {text!r}; I/N is expected, such as 1/16 to 16/16 for 16 parts.")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, path: str) -> bool:
        """Whether a row's path belongs to this part; the same on every machine and in every release."""
        return shard_number(path, self.count) == self.number


def shard_number(path: str, count: int) -> int:
    """The part, 1 to `count`, of a row's path: the first eight bytes of its sha256, modulo `count`."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % count + 1
