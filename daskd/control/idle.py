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
    """Whether it has been idle for its time-out.

    What waits for a lost client's return is not idle: the scheduler says `idle_since` only where no such work is
    held. Nor is a cluster whose workers are still on their way: the clock starts anew when they have come.
    """
    timeout = cluster.spec.idle_timeout
    if not timeout or cluster.stop or cluster.phase is not Phase.RUNNING:
        return False
    if cluster.scheduler.heard is not None or cluster.idle_since is None:
        return False
    if any(group.pending and not group.failures for group in cluster.groups):
        return False
    since = max(cluster.idle_since, *(group.last_join or 0.0 for group in cluster.groups))
    return now - since >= timeout


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
        words = f"idle for its idle timeout of {cluster.spec.idle_timeout:g} s"
        event = NewEvent("IDLE_TIMEOUT", words, facts={"idle_timeout": str(cluster.spec.idle_timeout)})
        await self._store.update(
            cluster.uid,
            lambda current: dataclasses.replace(current, stop=words) if is_overdue(current, now) else current,
            events=lambda before, after: (event,) if before.stop != after.stop else (),
        )
        self._wake(cluster.uid)
