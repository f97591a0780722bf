"""Turns: how many commands a batch system is asked a minute, and who goes first when more are wanted."""

from __future__ import annotations

import asyncio
import enum
import time
from collections import deque
from collections.abc import Mapping

AT_ONCE = 10


class Lane(enum.Enum):
    """What a command is for. Where several kinds wait they take turns, so that none keeps another waiting for ever."""

    ACT = "to submit, or to end"
    LOOK = "to see what there is"
    READ = "to read logs"


class Pace:
    """Gives turns to commands.

    Parameters
    ----------
    per_minute
        How many a minute at most; a few are had at once after a rest.
    """

    def __init__(self, per_minute: int) -> None:
        self._interval = 60.0 / per_minute
        self._next = 0.0
        self._waiting: Mapping[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}
        self._order = deque(Lane)
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, lane: Lane) -> None:
        """Wait for one's turn. Who is cancelled while waiting takes none."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(waiter)
        if self._timer is None:
            self._serve()
        await waiter

    def _serve(self) -> None:
        """Give the turns that are due, and come back when the next one is."""
        self._timer = None
        while (lane := self._first()) is not None:
            now = time.monotonic()
            mine = max(self._next, now - (AT_ONCE - 1) * self._interval)
            if mine > now:
                self._timer = asyncio.get_running_loop().call_later(mine - now, self._serve)
                return
            self._next = mine + self._interval
            self._order.remove(lane)
            self._order.append(lane)
            self._waiting[lane].popleft().set_result(None)

    def _first(self) -> Lane | None:
        """Whose turn it is, of those for whom somebody still waits."""
        for lane in self._order:
            queue = self._waiting[lane]
            while queue and queue[0].done():
                queue.popleft()
            if queue:
                return lane
        return None
