"""A budget is taken in turn, and nothing of it is lost when somebody gives up."""

from __future__ import annotations

import asyncio

import pytest
from handful.service.http.capacity import Admission, Budget
from handful.service.http.errors import Overloaded


def test_who_does_not_fit_waits_in_turn() -> None:
    async def main() -> None:
        budget, order = Budget(10), list[str]()

        async def take(name: str, count: int) -> None:
            await budget.take(count)
            order.append(name)

        await take("first", 6)
        waiting = [
            asyncio.ensure_future(take(name, count)) for name, count in (("large", 8), ("small", 1), ("all", 99))
        ]
        await asyncio.sleep(0)
        assert order == ["first"]  # the small one would fit, but the large one came first
        budget.give_back(6)
        await asyncio.gather(*waiting[:2])
        assert order == ["first", "large", "small"]
        budget.give_back(8)
        budget.give_back(1)
        await waiting[2]
        assert budget.used == 10  # more than there is means all there is
        budget.give_back(99)
        assert budget.used == 0

    asyncio.run(main())


def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    async def main() -> None:
        budget = Budget(10)
        await budget.take(10)
        gone, there = (asyncio.ensure_future(budget.take(5)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        budget.give_back(10)
        await there
        assert budget.used == 5
        late = asyncio.ensure_future(budget.take(5))
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        assert budget.used == 5

    asyncio.run(main())


def test_too_many_and_too_slow_are_both_overload() -> None:
    async def main() -> None:
        admission = Admission(2, 0.01)
        with pytest.raises(Overloaded, match="2 images"):
            async with admission.admit(3):
                pass
        with pytest.raises(Overloaded, match=r"0\.01 seconds"):
            async with admission.admit(2):
                await asyncio.sleep(60)
        assert admission.waiting.used == 0

    asyncio.run(main())
