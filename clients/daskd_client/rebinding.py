"""A Dask client whose futures outlive a broken connection.

``distributed``'s own client cancels all its futures when it loses the scheduler, and reconnects without them. The work
need not be lost: the scheduler keeps a lost client's keys, and hands them back to a client that returns under its id.
"""

from __future__ import annotations

import logging
from typing import Any

from distributed import Client

from .held import announce

logger = logging.getLogger(__name__)

_KNOWN = frozenset({"waiting", "no-worker", "queued", "processing", "memory", "erred"})
"""The states of a task that will have, or has, a result."""


class RebindingClient(Client):
    """A `distributed.Client` that binds its futures again after it lost the scheduler and reached it again.

    A future goes on as if nothing had been: a ``result()`` that waits, waits on. Only what the scheduler does not know
    any more is cancelled, as `distributed.Client` does with all.
    """

    async def _reconnect(self) -> None:
        # Out of sight of the base class, which would cancel them and wake who waits for them.
        before: dict[Any, Any] = self.futures
        self.futures: dict[Any, Any] = {}
        await super()._reconnect()
        states = await self._states(list(before)) if self.status == "running" else {}
        bound = [key for key in before if states.get(key) in _KNOWN and self.refcount.get(key)]
        for key, future in before.items():
            if key not in self.refcount:
                continue  # nobody holds a future of it any more
            if key in self.futures:
                # Asked for anew while the connection was being made; who waits for the old one is told.
                future.cancel(reason="scheduler-connection-lost", msg="It was submitted again meanwhile.")
            elif key in bound:
                self.futures[key] = future
                if future.status == "finished" and states[key] != "memory":
                    future.retry()
            else:
                future.cancel(
                    reason="scheduler-connection-lost",
                    msg="The connection to the scheduler was lost, and with it this work. Please run it again.",
                )
        if self.status == "running":
            announce(self, [key for key in bound if self.futures.get(key) is before[key]])

    async def _ensure_connected(self, timeout: float | None = None) -> None:
        try:
            await super()._ensure_connected(timeout=timeout)
        except ValueError as error:
            # tornado's word for a connection that got bytes, or its end, before TLS began, as where a new listener is
            # just coming; the base class tries again for an OSError alone
            raise OSError(f"the scheduler is not there yet: {error}") from error

    async def _states(self, keys: list[Any]) -> dict[Any, str | None]:
        """The scheduler's state of each key; none if it went away again."""
        try:
            states: dict[Any, str | None] = await self.scheduler.get_task_status(keys=keys)
        except OSError as error:
            logger.info("The scheduler went away again: %s", error)
            return {}
        return states
