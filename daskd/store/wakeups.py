"""Waking those who wait for a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from daskd.model.errors import StateUnusable

from .interface import Subscription


class Wakeups:
    """Who waits for a revision. To be used in the event loop's thread alone.

    Parameters
    ----------
    newest
        Tells the newest revision. It grows before `wake` is called.
    """

    def __init__(self, newest: Callable[[], int]) -> None:
        self._newest = newest
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def wake(self) -> None:
        """Let all look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Let all go, with an error; from now on nobody can wait."""
        self._closed = True
        self.wake()

    async def wait(self, after: int, timeout: float | None) -> bool:
        """Whether there is a revision newer than `after`, as soon as there is or when the time (seconds) is over.

        Raises
        ------
        StateUnusable
            When closed.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while not self._closed:
            if self._newest() > after:
                return True
            left = None if deadline is None else deadline - loop.time()
            if left is not None and left <= 0:
                return False
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.add(future)
            try:
                await asyncio.wait((future,), timeout=left)
            finally:
                self._waiting.discard(future)
        raise StateUnusable("the state was closed: daskd is stopping. Watch again when it is back")


class Listener(Subscription):
    """A `Subscription` to wakeups."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._entered = False

    async def __aenter__(self) -> Listener:
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False

    async def wait(self, after_revision: int, timeout: float | None = None) -> bool:
        """See `Subscription.wait`."""
        if not self._entered:
            raise RuntimeError("a subscription is used within `async with`")
        return await self._wakeups.wait(after_revision, timeout)
