"""A counter of changes that can be waited for."""

from __future__ import annotations

import asyncio


class Changes:
    """Counts changes and wakes those who wait for the next one.

    Attributes
    ----------
    count : int
        How many changes there were; it only grows.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiters: set[asyncio.Future[None]] = set()

    def raise_(self) -> None:
        """Count one change."""
        self.count += 1
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, since: int, seconds: float) -> None:
        """Wait until the count differs from ``since``, at most ``seconds``.

        A count that is behind ``since`` differs too: who asks spoke to an earlier process.
        """
        if self.count != since or seconds <= 0:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=seconds)
        finally:
            self._waiters.discard(waiter)
