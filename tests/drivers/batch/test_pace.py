"""Turns at a batch system: bounded in number, and no kind of command keeps another waiting for ever."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from daskd.drivers.batch.here import Here
from daskd.drivers.batch.pace import AT_ONCE, Lane, Pace
from daskd.drivers.batch.runner import NotNow, NotRun, Runner
from daskd.model.identity import Identity

OFTEN = 60 * 50
"""Turns a minute of which one comes every 20 ms."""

SELDOM = 1
"""Turns a minute of which no second one comes within a test."""


async def served(pace: Pace, wanted: list[Lane], turns: int, within: float = 60) -> list[Lane]:
    """Whose the first turns were, of those that were wanted at once."""
    order: asyncio.Queue[Lane] = asyncio.Queue()

    async def wait(lane: Lane) -> None:
        await pace.turn(lane)
        order.put_nowait(lane)

    tasks = [asyncio.create_task(wait(lane)) for lane in wanted]
    try:
        return [await asyncio.wait_for(order.get(), within) for _ in range(turns)]
    finally:
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("many", list(Lane))
async def test_no_kind_of_command_starves_another(many: Lane) -> None:
    """However many of one kind wait, and came first, one of each other kind is among the next few."""
    others = [lane for lane in Lane if lane is not many]
    order = await served(Pace(OFTEN), [many] * 300 + others, AT_ONCE + 4)
    assert set(order) == set(Lane)


async def test_kinds_that_wait_share_the_turns() -> None:
    """Where all have enough to do each gets as many turns."""
    order = await served(Pace(OFTEN), [lane for lane in Lane for _ in range(100)], 30)
    assert set(Counter(order[-9:]).values()) == {3}


async def test_a_few_go_at_once_and_the_rest_wait() -> None:
    """After a rest so many turns are had at once, and the next one is not."""
    pace = Pace(SELDOM)
    await served(pace, [Lane.ACT] * AT_ONCE, AT_ONCE)
    late = asyncio.create_task(pace.turn(Lane.ACT))
    done, _ = await asyncio.wait({late}, timeout=0.05)
    assert not done
    late.cancel()


async def test_who_gives_up_takes_no_turn() -> None:
    """Those who were cancelled while they waited are passed over."""
    pace = Pace(OFTEN)
    await served(pace, [Lane.LOOK] * AT_ONCE, AT_ONCE)
    gone = [asyncio.create_task(pace.turn(Lane.ACT)) for _ in range(1000)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    # their turns would take twenty seconds, and this one comes after them
    assert await served(pace, [Lane.ACT], 1, within=10) == [Lane.ACT]


async def test_a_command_whose_turn_does_not_come_was_not_started() -> None:
    """It is refused for now, which is no launch that may have taken place."""
    runner = Runner(Here(Identity("me", 0, 0, "/"), "/nonexistent", {}), SELDOM)
    for _ in range(AT_ONCE):
        with pytest.raises(NotRun, match="there is no command"):
            await runner.run(["no-such-command"], timeout=60, lane=Lane.ACT)
    with pytest.raises(NotNow, match="per_minute"):
        await runner.run(["no-such-command"], timeout=0.01, lane=Lane.ACT)
