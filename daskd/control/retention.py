"""Forgets what is kept long enough: logs, events, ended clusters."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog

from daskd.drivers.protocol import Site
from daskd.model.errors import DaskdError
from daskd.store import ClusterQuery, Store

log = structlog.get_logger(__name__)

EVERY = 3600.0
PAGE = 500


@dataclass(frozen=True, slots=True)
class Keep:
    """How long, in seconds, and how many: logs and records of ended clusters, events."""

    logs: float
    clusters: float
    events: float
    max_events: int


class Retention:
    """Looks every hour, the first time at start-up.

    Attributes
    ----------
    keep
        May be changed at any time.
    """

    def __init__(self, store: Store, site: Site, keep: Keep) -> None:
        self._store = store
        self._site = site
        self.keep = keep
        self._forgotten: set[str] = set()

    async def run(self) -> None:
        """Forget until cancelled."""
        while True:
            try:
                await self.forget(time.time())
            except (DaskdError, OSError) as error:
                log.error("what is old could not be removed; tried again in an hour", error=str(error))
            await asyncio.sleep(EVERY)

    async def forget(self, now: float) -> None:
        """Remove what is too old by now."""
        await self._logs(now - self.keep.logs)
        pruned = await self._store.prune(
            ended_before=now - self.keep.clusters,
            events_before=now - self.keep.events,
            keep_events=self.keep.max_events,
        )
        for uid in pruned.clusters:
            await self._site.forget(uid)
            self._forgotten.discard(uid)
        if pruned.clusters or pruned.changes:
            log.info("removed what is old", clusters=len(pruned.clusters), changes=pruned.changes)

    async def _logs(self, before: float) -> None:
        after = ""
        while True:
            page = await self._store.list(ClusterQuery(include_ended=True, limit=PAGE, after=after))
            for cluster in page.items:
                if cluster.ended is not None and cluster.ended < before and cluster.uid not in self._forgotten:
                    await self._site.forget(cluster.uid)
                    self._forgotten.add(cluster.uid)
            after = page.next_token
            if not after:
                return
