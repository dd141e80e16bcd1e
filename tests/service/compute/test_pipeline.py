"""Each source gives one result or error, in order, for any number of parallel batches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from handful.service.artifact.errors import ImageError, ImageUnreadable
from handful.service.compute.pipeline import Batch, run_batches
from torch import Tensor

SIZE = 4


def read(number: int) -> int:
    if number % 7 == 3:
        raise ImageUnreadable(f"{number} is broken.")
    return number


def pixels(number: int) -> Tensor:
    return torch.full((3, 2, 2), float(number))


def answered(batch: Batch[int, int]) -> list[str]:
    rows = iter(() if batch.pixels is None else batch.pixels[:, 0, 0, 0].tolist())
    return [str(r) if isinstance(r, ImageError) else f"{next(rows):g}" for r in batch.read]


@pytest.mark.parametrize("count", [0, 1, SIZE, SIZE + 1, 10 * SIZE + 3])
@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_every_source_is_answered_once_and_in_order(count: int, parallel: int) -> None:
    results = run_batches(range(count), read, pixels, answered, size=SIZE, parallel_batches=parallel)
    expected = [f"{n} is broken." if n % 7 == 3 else str(n) for n in range(count)]
    assert [answer for batch in results for answer in batch] == expected


@pytest.mark.parametrize("parallel", [1, 2])
def test_no_more_sources_are_read_than_run_ahead(parallel: int) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = run_batches(endless(), read, pixels, answered, size=SIZE, parallel_batches=parallel)
    for _ in range(20):
        next(results)
    results.close()
    assert 20 * SIZE <= taken <= (20 + 2 * parallel + 1) * SIZE + 1


@pytest.mark.parametrize("parallel", [1, 2])
def test_another_error_ends_it(parallel: int) -> None:
    def failing(batch: Batch[int, int]) -> int:
        if 9 in batch.sources:
            raise ValueError("the network failed")
        return len(batch.sources)

    with pytest.raises(ValueError, match="the network failed"):
        list(run_batches(range(100), int, pixels, failing, size=SIZE, parallel_batches=parallel))


def test_a_parallel_batch_gets_its_share_of_the_cores_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()

    def cores(_: Batch[int, int]) -> int:
        return torch.get_num_threads()

    results = list(run_batches(range(100), int, pixels, cores, size=SIZE, parallel_batches=64))
    assert set(results) == {1}
    assert torch.get_num_threads() == before


def test_channels_are_last_in_memory_as_the_network_wants_them() -> None:
    def as_it_lies(batch: Batch[int, Tensor]) -> bool:
        assert batch.pixels is not None
        return batch.pixels.is_contiguous(memory_format=torch.channels_last)

    def read_picture(_: int) -> Tensor:
        return torch.zeros(5, 5, 3).permute(2, 0, 1)

    def pixels_of(picture: Tensor) -> Tensor:
        return picture

    assert list(run_batches(range(3), read_picture, pixels_of, as_it_lies, size=SIZE, parallel_batches=1)) == [True]
