"""Ending tasks for sure."""

from __future__ import annotations

import asyncio

import pytest

from daskd.control import tasks


async def test_a_task_that_loses_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on after the first cancellation ends by the second."""
    monkeypatch.setattr(tasks, "AGAIN_AFTER", 0.01)
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost:
                    raise
                lost += 1

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.end([task]), 10)
    assert task.cancelled()
    assert lost == 1


async def test_no_task_is_nothing_to_end() -> None:
    """And one that has ended already is none to wait for."""
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    await asyncio.wait_for(tasks.end([]), 10)
    await asyncio.wait_for(tasks.end([done]), 10)
