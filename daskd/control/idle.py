"""Ends clusters that have been idle for as long as their spec allows."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable

from daskd.model.cluster import Cluster, Phase
from daskd.model.event import NewEvent
from daskd.store import Store

EVERY = 1.0


def is_overdue(cluster: Cluster, now: float) -> bool:
    """Whether it has been idle for its time-out. What waits for a lost client's return is not idle: the scheduler
    says `idle_since` only where no such work is held."""
    timeout = cluster.spec.idle_timeout
    return bool(
        timeout
        and not cluster.stop
        and cluster.phase is Phase.RUNNING
        and cluster.scheduler.heard is None
        and cluster.idle_since is not None
        and now - cluster.idle_since >= timeout
    )


class IdleWatch:
    """Looks every second.

    Parameters
    ----------
    idle_since
        Asks a cluster's scheduler since when it has been idle, by the cluster's uid; None where it is not, or does
        not say. The record may be some seconds old, and nobody's work is ended on that.
    wake
        Called with the uid of a cluster whose end it asked for.
    """

    def __init__(
        self, store: Store, idle_since: Callable[[str], Awaitable[float | None]], wake: Callable[[str], None]
    ) -> None:
        self._store = store
        self._idle_since = idle_since
        self._wake = wake

    async def run(self) -> None:
        """Look until cancelled."""
        revision, live = -1, list[Cluster]()
        while True:
            if self._store.revision != revision:
                revision, live = self._store.revision, await self._store.live()
            now = time.time()
            for cluster in live:
                if is_overdue(cluster, now):
                    present = dataclasses.replace(cluster, idle_since=await self._idle_since(cluster.uid))
                    if is_overdue(present, time.time()):
                        await self._end(present, now)
            await asyncio.sleep(EVERY)

    async def _end(self, cluster: Cluster, now: float) -> None:
        words = f"idle for {now - (cluster.idle_since or now):.0f} s, longer than its idle timeout"
        event = NewEvent("IDLE_TIMEOUT", words, facts={"idle_timeout": str(cluster.spec.idle_timeout)})
        await self._store.update(
            cluster.uid,
            lambda current: dataclasses.replace(current, stop=words) if is_overdue(current, now) else current,
            events=lambda before, after: (event,) if before.stop != after.stop else (),
        )
        self._wake(cluster.uid)
