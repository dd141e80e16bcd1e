"""Photos to measure on that were also learned: a number from them says nothing about new photos."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from handful.service.artifact.errors import ImageError
from handful.service.artifact.images import content_sha256, read_bytes
from handful.service.compute.device import cpu_count
from handful.training.photos.sources import Dataset, Problem


def learned_among(part: Dataset, learned: Collection[str]) -> int:
    """How many files of a part have the bytes of a photo that was learned, given by `content_sha256`."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        contents = pool.map(_content, [example.path for example in part.examples])
        return sum(content in learned for content in contents)


def overlap_problems(dataset: Dataset, learned: Collection[str]) -> list[Problem]:
    problems = []
    for part in dataset.held_out:
        if count := learned_among(part, learned):
            detail = (
                f"{count} of its {len(part.examples)} photos are in {dataset.name or 'train'}/ too; what is measured"
            )
            detail += " on them says nothing about new photos."
            problems.append(Problem(part.name, "in_training", detail))
    return problems


def _content(path: Path) -> str:
    try:
        return content_sha256(read_bytes(path))
    except ImageError:
        return ""
