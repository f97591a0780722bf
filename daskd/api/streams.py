"""Answers that go on: they end in good order when the daemon stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from .status import DaemonStopping

T = TypeVar("T")


async def unless_stopping(stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to.

    Raises
    ------
    DaemonStopping
        When the daemon stops first; `work` is cancelled then.
    """
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise stopped()
        return task.result()
    finally:
        stop.cancel()
        if not task.done():
            task.cancel()
            # it is waited for, so that what it holds is free when the stream has ended
            with suppress(asyncio.CancelledError):
                await task


async def each_unless_stopping(stopping: asyncio.Event, items: AsyncIterator[T]) -> AsyncIterator[T]:
    """The items of an iterator until it ends.

    Raises
    ------
    DaemonStopping
        When the daemon stops first.
    """
    while True:
        try:
            item = await unless_stopping(stopping, _next(items))
        except _Exhausted:
            return
        yield item


def stopped() -> DaemonStopping:
    """What a stream is told when the daemon stops."""
    return DaemonStopping("the daemon is stopping; clusters go on. Call again when it is back")


class _Exhausted(Exception):
    """The iterator is at its end: StopAsyncIteration itself can't leave a task."""


async def _next(items: AsyncIterator[T]) -> T:
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        raise _Exhausted from None
